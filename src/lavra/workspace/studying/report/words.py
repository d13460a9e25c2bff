"""The report's words in English and Portuguese. A page holds both; which are seen is the reader's choice."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

LANGUAGES = ("en", "pt")

WORDS: Mapping[str, tuple[str, str]] = {
    "title": ("Study: which way to take", "Estudo: que caminho tomar"),
    "language": ("Language", "Idioma"),
    "decision": ("The decision", "A decisão"),
    "ways": ("The ways, measured on the same questions", "Os caminhos, medidos nas mesmas perguntas"),
    "way": ("way", "caminho"),
    "model": ("model", "modelo"),
    "answered": ("questions", "perguntas"),
    "quality": ("quality", "qualidade"),
    "refusal": ("answers or refuses rightly", "responde ou recusa com razão"),
    "state": ("state", "situação"),
    "whole": ("answered all", "respondeu a todas"),
    "dropped": ("dropped after a round", "deixado depois de uma rodada"),
    "failed": ("failed: {reason}", "falhou: {reason}"),
    "unbuilt": ("not built: {reason}", "não construído: {reason}"),
    "cut": ("cut off: {reason}", "interrompido: {reason}"),
    "intervals": (
        "The mean over the questions and, in brackets, the range that holds 95% of what other questions of the same "
        "kind would give (bootstrap over questions). {by}",
        "A média das perguntas e, entre colchetes, a faixa que contém 95% do que outras perguntas do mesmo tipo dariam "
        "(bootstrap sobre as perguntas). {by}",
    ),
    "by_quality": (
        "Quality is the share of the right answer's words that the reply holds, function words and the question's own "
        "aside; where nothing answers the question, 1 for refusing and 0 for not refusing.",
        "Qualidade é a parte das palavras da resposta certa que a resposta contém, sem contar palavras gramaticais e "
        "as da própria pergunta; onde nada responde à pergunta, 1 para quem recusa e 0 para quem não recusa.",
    ),
    "by_other": (
        "Quality is the measure {measure}; where nothing answers the question, 1 for refusing and 0 for not refusing.",
        "Qualidade é a medida {measure}; onde nada responde à pergunta, 1 para quem recusa e 0 para quem não recusa.",
    ),
    "pictures": ("Quality against waiting and cost", "Qualidade contra espera e custo"),
    "picture_note": (
        "Blue: on the Pareto front, that is, nothing else is both better and cheaper. Bars: 95% intervals. Large: the "
        "recommended way.",
        "Azul: na fronteira de Pareto, isto é, nada é ao mesmo tempo melhor e mais barato. Barras: intervalos de 95%. "
        "Grande: o caminho recomendado.",
    ),
    "x_seconds": ("seconds an answer (median)", "segundos por resposta (mediana)"),
    "x_money": ("{currency} for 1,000 answers", "{currency} por 1.000 respostas"),
    "cost": ("Time, memory, energy and money", "Tempo, memória, energia e dinheiro"),
    "first_p50": ("first words, s: p50", "primeiras palavras, s: p50"),
    "first_p95": ("p95", "p95"),
    "whole_p50": ("answer, s: p50", "resposta, s: p50"),
    "whole_p95": ("p95", "p95"),
    "tokens_per_second": ("tokens/s of the whole answer", "tokens/s da resposta inteira"),
    "memory": ("memory", "memória"),
    "disk": ("disk", "disco"),
    "build": ("to build", "para construir"),
    "build_energy": ("energy to build, Wh", "energia para construir, Wh"),
    "energy": ("energy of 1,000 answers, Wh", "energia de 1.000 respostas, Wh"),
    "co2": ("CO₂ of 1,000 answers, g", "CO₂ de 1.000 respostas, g"),
    "money": ("{currency} for 1,000 answers", "{currency} por 1.000 respostas"),
    "estimated": (
        "Energy marked ~ is estimated from the processor's time and the watts that [prices] declares; the rest was "
        "measured by the machine. CO₂ is by the mean intensity of a year ({country}). Memory is what the whole process "
        "held while answering.",
        "A energia marcada com ~ é estimada pelo tempo de processador e pelos watts declarados em [prices]; o resto "
        "foi medido pela máquina. O CO₂ é pela intensidade média de um ano ({country}). A memória é a do processo "
        "inteiro enquanto respondia.",
    ),
    "world": ("the world", "o mundo"),
    "unpriced": (
        "Money is not told: [prices] of lavra.toml says no prices.",
        "Não se fala de dinheiro: [prices] em lavra.toml não diz preços.",
    ),
    "measures": ("All measures", "Todas as medidas"),
    "judge": ("Whether to believe the judge", "Se o juiz merece confiança"),
    "all_ways": ("all ways", "todos os caminhos"),
    "judge_note": (
        "Rank correlation (Spearman) of the grades of {judge} with the other measures; near 0, the grades mean "
        "something else, or nothing. It was asked about each reply twice, with the positions swapped: {counts}.",
        "Correlação de postos (Spearman) das notas de {judge} com as outras medidas; perto de 0, as notas dizem outra "
        "coisa, ou nada. Cada resposta lhe foi mostrada duas vezes, com as posições trocadas: {counts}.",
    ),
    "judge_trusted": (
        "Nothing here speaks against {judge} as a judge: over all replies its grades follow {reference} with a rank "
        "correlation of {agreed} (Kendall's tau {kendall}). Read some of its reasons all the same.",
        "Nada aqui fala contra {judge} como juiz: em todas as respostas suas notas acompanham {reference} com uma "
        "correlação de postos de {agreed} (tau de Kendall {kendall}). Leia alguns de seus motivos mesmo assim.",
    ),
    "judge_doubted": (
        "Do not believe {judge} as a judge: {reasons}.",
        "Não acredite em {judge} como juiz: {reasons}.",
    ),
    "judge_failed": (
        "{judge} was asked no more after {grades} grades, and the same command asks it the rest: {reason} ",
        "{judge} não foi mais consultado depois de {grades} notas, e o mesmo comando lhe pergunta o resto: {reason} ",
    ),
    "judge_unread": (
        "What it wrote instead of a verdict, for example:",
        "O que ele escreveu em vez de um veredito, por exemplo:",
    ),
    "doubt_nothing_read": ("none of its verdicts could be read", "nenhum de seus vereditos pôde ser lido"),
    "doubt_unreadable": (
        "{unreadable} of its {verdicts} verdicts could not be read",
        "{unreadable} de seus {verdicts} vereditos não puderam ser lidos",
    ),
    "doubt_order": (
        "in {changed} of {pairs} replies its grade changed with the order in which right answer and reply stood",
        "em {changed} de {pairs} respostas a nota mudou com a ordem em que estavam a resposta certa e a dada",
    ),
    "doubt_constant": (
        "it gives all replies nearly the same grade",
        "dá quase a mesma nota a todas as respostas",
    ),
    "doubt_unmeasured": (
        "too few replies, or none that differ, to say whether its grades follow {reference}",
        "poucas respostas, ou nenhuma diferente, para dizer se suas notas acompanham {reference}",
    ),
    "doubt_agreement": (
        "its grades have little to do with {reference}: rank correlation {agreed}, Kendall's tau {kendall}",
        "suas notas têm pouco a ver com {reference}: correlação de postos {agreed}, tau de Kendall {kendall}",
    ),
    "failures": ("What went wrong", "O que deu errado"),
    "right": ("right", "certas"),
    "error": ("no reply", "sem resposta"),
    "refused": ("refused what the documents answer", "recusou o que os documentos respondem"),
    "invented": ("answered what nothing answers", "respondeu ao que nada responde"),
    "not_found": ("the search missed the source", "a busca não achou a fonte"),
    "found_wrong": ("source found, reply wrong", "fonte achada, resposta errada"),
    "wrong": ("wrong, without searching", "errada, sem busca"),
    "failures_note": (
        "A reply counts as right from a quality of {right}. What a server did beside answering: {counts}.",
        "Uma resposta conta como certa a partir da qualidade {right}. O que um servidor fez além de responder: "
        "{counts}.",
    ),
    "nothing": ("nothing", "nada"),
    "retained": ("General ability kept after tuning", "Capacidade geral mantida depois do ajuste"),
    "retained_note": (
        "Measured by lavra tune before and after: bits per byte of general text (less is better), and general tasks "
        "right.",
        "Medido por lavra tune antes e depois: bits por byte de texto geral (menos é melhor) e tarefas gerais certas.",
    ),
    "abilities": (
        "What tuning left: general ability, bias, what was learned by heart",
        "O que o ajuste deixou: capacidade geral, viés, o que foi decorado",
    ),
    "abilities_note": (
        "Each model once, a base as it came. General text: bits per byte of 14 paragraphs (less is better). Tasks: "
        "share right of 64. Stereotypes: how often two groups with the attributes they are credited with are likelier "
        "than with the attributes exchanged; 0.5 is no preference. By heart: of up to {most} answers, and of as many "
        "places of documents where a way read them, the share whose rest the model writes word by word when it is "
        "given the beginning; beside it the same of texts that it did not learn from, which can only be guessed. The "
        "arrow leads from the base to the model; brackets are 95% intervals, of the change where it stands in "
        "parentheses. These samples are small: they show what went far, and are no proof that nothing did.",
        "Cada modelo uma vez, a base como veio. Texto geral: bits por byte de 14 parágrafos (menos é melhor). Tarefas: "
        "parte certa de 64. Estereótipos: com que frequência dois grupos com os atributos que lhes são atribuídos são "
        "mais prováveis do que com os atributos trocados; 0,5 é nenhuma preferência. De cor: de até {most} respostas, "
        "e de outros tantos lugares de documentos onde um caminho os leu, a parte cujo resto o modelo escreve palavra "
        "por palavra quando recebe o começo; ao lado, o mesmo de textos com os quais não aprendeu, que só podem ser "
        "adivinhados. A seta vai da base ao modelo; os colchetes são intervalos de 95%, da mudança onde ela está entre "
        "parênteses. Estas amostras são pequenas: mostram o que mudou muito e não provam que nada mudou.",
    ),
    "of_ways": ("of", "de"),
    "general_text": ("general text, bits per byte", "texto geral, bits por byte"),
    "general_tasks": ("tasks right", "tarefas certas"),
    "stereotypes": ("stereotypes", "estereótipos"),
    "crows_pairs": ("CrowS-Pairs", "CrowS-Pairs"),
    "by_heart_learned": ("by heart: learned", "de cor: aprendido"),
    "by_heart_held": ("by heart: not learned", "de cor: não aprendido"),
    "base_model": ("base", "base"),
    "bits": ("bits per byte", "bits por byte"),
    "tasks": ("general tasks right, of 64", "tarefas gerais certas, de 64"),
    "topics": ("Quality by topic", "Qualidade por assunto"),
    "documents": ("Quality by document", "Qualidade por documento"),
    "topic": ("topic", "assunto"),
    "document": ("document", "documento"),
    "answers": ("Best and worst answers, side by side", "Melhores e piores respostas, lado a lado"),
    "best": ("{way}: the best {count}", "{way}: as {count} melhores"),
    "worst": ("{way}: the worst {count}", "{way}: as {count} piores"),
    "expected": ("Right: ", "Certo: "),
    "unanswerable": ("Nothing answers this: refusing is right.", "Nada responde a isto: o certo é recusar."),
    "questions": ("The questions", "As perguntas"),
    "asked": (
        "{asked} questions were asked of every way, {unanswerable} of which nothing answers, about {documents} "
        "documents; {learned} others, of which none is asked, were there to learn from.",
        "{asked} perguntas foram feitas a cada caminho, {unanswerable} das quais nada responde, sobre {documents} "
        "documentos; {learned} outras, das quais nenhuma é perguntada, estavam lá para se aprender.",
    ),
    "note_made": (
        "No questions were given: Lavra made {questions} of the documents by rules, split by document. They ask what "
        "rules can ask; your readers may ask otherwise.",
        "Não foram dadas perguntas: o Lavra fez {questions} dos documentos por regras, divididas por documento. Elas "
        "perguntam o que regras sabem perguntar; seus leitores podem perguntar outra coisa.",
    ),
    "note_given": ("The questions are those of {file}.", "As perguntas são as de {file}."),
    "note_twice": (
        "{count} questions stand in {file} more than once and count as one, with all their answers.",
        "{count} perguntas estão em {file} mais de uma vez e contam como uma, com todas as suas respostas.",
    ),
    "note_divided": (
        "The file says no split, so the questions were divided by document: {learned} to learn from, {asked} to ask.",
        "O arquivo não diz divisão; as perguntas foram divididas por documento: {learned} para aprender, {asked} para "
        "perguntar.",
    ),
    "note_shared": (
        "{documents} documents are both learned from and asked about, by different questions: ways that learn may know "
        "them.",
        "{documents} documentos são ao mesmo tempo aprendidos e perguntados, por perguntas diferentes: caminhos que "
        "aprendem podem conhecê-los.",
    ),
    "note_unanswerable": (
        "None of the questions was unanswerable: {count} that no document answers were made of them.",
        "Nenhuma das perguntas era irrespondível: {count} a que nenhum documento responde foram feitas delas.",
    ),
    "note_no_unanswerable": (
        "None of the questions is unanswerable, and none could be made of them: whether a way refuses was not "
        "measured.",
        "Nenhuma das perguntas é irrespondível, e nenhuma pôde ser feita delas: não se mediu se um caminho recusa.",
    ),
    "note_limited": (
        "Of {of} questions {asked} were asked, of all topics and of what nothing answers in proportion.",
        "De {of} perguntas foram feitas {asked}, de todos os assuntos e do que nada responde em proporção.",
    ),
    "spent": (
        "The study took {minutes} and {energy}{money}{budget}.",
        "O estudo levou {minutes} e {energy}{money}{budget}.",
    ),
    "of_budget": (", {share} of the budget of {budget}", ", {share} do orçamento de {budget}"),
    "again": ("How to do it again", "Como repetir"),
    "again_note": (
        "The same command in the same workspace finds everything and asks nothing twice; on another machine it makes "
        "the same from the same documents.",
        "O mesmo comando no mesmo espaço de trabalho acha tudo e não pergunta nada duas vezes; em outra máquina, faz o "
        "mesmo dos mesmos documentos.",
    ),
    "settings": ("settings", "configuração"),
    "artifacts": ("artifacts", "artefatos"),
    # the decision, in three sentences
    "no_decision": (
        "No way gave a single right reply, so none is recommended. Read the worst answers below, and the reasons of "
        "failures. Then ask other questions, or give other documents or models.",
        "Nenhum caminho deu uma única resposta certa; nenhum é recomendado. Leia abaixo as piores respostas e os "
        "motivos das falhas. Depois faça outras perguntas, ou dê outros documentos ou modelos.",
    ),
    "no_decision_judge": (
        "Ways were to be compared by a judge who graded nothing, or not everything, so none is recommended. The "
        "quality shown is that of words. Take another judge, or leave out --measure judge.",
        "Os caminhos seriam comparados por um juiz que não deu nota nenhuma, ou não a tudo; nenhum é recomendado. A "
        "qualidade mostrada é a das palavras. Tome outro juiz, ou deixe de fora --measure judge.",
    ),
    "take": (
        "Take {way}: its quality is {quality} over {count} questions, and an answer takes {seconds} s.",
        "Tome {way}: sua qualidade é {quality} em {count} perguntas, e uma resposta leva {seconds} s.",
    ),
    "take_cheaper": (
        "Take {way}: it is hardly worse than {best}, the best (by at most {most}, with 95% certainty), and cheaper; "
        "its quality is {quality} over {count} questions, and an answer takes {seconds} s.",
        "Tome {way}: não é muito pior que {best}, o melhor (no máximo {most}, com 95% de certeza), e é mais barato; "
        "sua qualidade é {quality} em {count} perguntas, e uma resposta leva {seconds} s.",
    ),
    "alone": ("There is no other way to compare it with.", "Não há outro caminho com que compará-lo."),
    "beats_all": (
        "It is better than every other way (p < 0.05, corrected for {count} comparisons): the nearest, {other}, is "
        "{difference} lower [{low}, {high}].",
        "É melhor que todos os outros (p < 0,05, corrigido para {count} comparações): o mais próximo, {other}, está "
        "{difference} abaixo [{low}, {high}].",
    ),
    "tied": (
        "These questions do not tell {best} from {others}: {other} is {difference} lower [{low}, {high}], "
        "p = {p}{needed}.",
        "Estas perguntas não separam {best} de {others}: {other} está {difference} abaixo [{low}, {high}], "
        "p = {p}{needed}.",
    ),
    "needed": (
        "; about {count} questions would, if the difference is as large as it seems",
        "; umas {count} perguntas separariam, se a diferença for tão grande quanto parece",
    ),
    "quickest": ("No other way answers faster.", "Nenhum outro caminho responde mais depressa."),
    "slower": (
        "The quickest is {other}, with {least} s an answer and a quality of {quality}.",
        "O mais rápido é {other}, com {least} s por resposta e qualidade {quality}.",
    ),
    "cheapest": (
        "1,000 answers cost {own} {currency}, and no other way is cheaper.",
        "1.000 respostas custam {own} {currency}, e nenhum outro caminho é mais barato.",
    ),
    "dearer": (
        "1,000 answers cost {own} {currency}; with {other}, the cheapest, {least}, for a quality of {quality}.",
        "1.000 respostas custam {own} {currency}; com {other}, o mais barato, {least}, com qualidade {quality}.",
    ),
}  # fmt: skip


def say(name: str, **values: Any) -> dict[str, str]:
    """A text in each language, filled in; a value that is such a text itself is taken in the same language."""
    found = {}
    for language, text in zip(LANGUAGES, WORDS[name], strict=True):
        chosen = {key: value[language] if isinstance(value, Mapping) else value for key, value in values.items()}
        found[language] = text.format(**chosen)
    return found


def show(name: str, **values: Any) -> str:
    """The same as markup of which the page shows one language."""
    return both(say(name, **values))


def both(texts: Mapping[str, str]) -> str:
    """Markup of a text in all languages."""
    if len(set(texts.values())) == 1:
        return escape(next(iter(texts.values())))
    return "".join(
        f'<span class="{language}" lang="{language}">{escape(text)}</span>' for language, text in texts.items()
    )


def drawn(name: str, **values: Any) -> str:
    """The same inside an SVG's text."""
    return "".join(
        f'<tspan class="{language}">{escape(text)}</tspan>' for language, text in say(name, **values).items()
    )
