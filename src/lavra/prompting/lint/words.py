# ruff: noqa: E501
"""The words by which the rules know what is said, by language. Regular expressions; case does not count."""

from __future__ import annotations

VAGUE = {
    "en": r"\b(?:(?:in)?appropriate(?:ly)?|suitabl[ey]|adequate(?:ly)?|as (?:needed|necessary|required|you see fit)"
    r"|if (?:possible|necessary|needed|appropriate)|when(?:ever)? (?:possible|necessary|appropriate)|high[- ]quality"
    r"|reasonabl[ey]|sufficient(?:ly)?|etc\b\.?|and so (?:on|forth)|or something|something like|stuff|try (?:to|your best)"
    r"|not too (?:long|short|much|many)|(?:be|make it|make them) (?:good|nice|great|interesting|better|engaging)"
    r"|a (?:good|nice|great) (?:answer|summary|text|reply|response)|somewhat|fairly|properly)",
    "pt": r"\b(?:(?:in)?apropriad[oa]s?|(?:in)?adequad[oa](?:s|mente)?|se (?:possível|necessário|for o caso|precisar)"
    r"|quando (?:apropriado|necessário|possível|for o caso)|conforme (?:necessário|apropriado|achar melhor)|etc\b\.?"
    r"|e assim por diante|ou algo (?:assim|do tipo)|alta qualidade|razoável|razoavelmente|suficiente(?:mente|s)?"
    r"|tente|procure fazer|na medida do possível|não muito (?:long|curt|grande)\w*|de forma correta"
    r"|(?:seja|fique|torne-o) (?:bom|boa|legal|interessante|melhor)|um[a]? bo[am] (?:resposta|resumo|texto))",
    "es": r"\b(?:(?:in)?apropiad[oa]s?|(?:in)?adecuad[oa](?:s|mente)?|si es (?:posible|necesario)|de ser (?:posible|necesario)"
    r"|cuando (?:sea|fuera) (?:apropiado|necesario|posible)|según (?:sea necesario|convenga)|etc\b\.?|y así sucesivamente"
    r"|o algo (?:así|parecido)|alta calidad|razonable(?:mente)?|suficiente(?:mente|s)?|intenta|intente|procura"
    r"|no (?:muy|demasiado) (?:larg|cort)\w*|en lo posible|(?:sea|que quede) (?:buen|bonit|interesante|mejor)\w*"
    r"|un[a]? buen[a]? (?:respuesta|resumen|texto))",
}

VAGUE_AMOUNT = {
    "en": r"\b(?:brief(?:ly)?|short(?:er)?|long(?:er)?|concise(?:ly)?|detailed|in detail|a few|several|some (?:examples|points|"
    r"questions|items|words)|many|a lot of|a couple of)\b(?! ?(?:sentence|word)s? of \d)",
    "pt": r"\b(?:breve(?:mente)?|curt[oa]s?|long[oa]s?|concis[oa]s?|detalhad[oa]s?|em detalhes?|alguns|algumas|vári[oa]s|"
    r"muit[oa]s|um pouco de)\b",
    "es": r"\b(?:breve(?:mente)?|cort[oa]s?|larg[oa]s?|concis[oa]s?|detallad[oa]s?|en detalle|algun[oa]s|vari[oa]s|"
    r"much[oa]s|un poco de)\b",
}

# Topics about which a prompt can want two things at once: for each, a pattern a wish.
WISHES: dict[str, dict[str, dict[str, str]]] = {
    "en": {
        "length": {
            "brief": r"\b(?:(?:answer|reply|respond|be|keep it|stay) (?:very )?(?:brief(?:ly)?|concise(?:ly)?|short)"
            r"|(?:in|with) (?:just |only )?(?:one|a single|1) (?:complete |short )?(?:sentence|word)|in a few words)\b",
            "at length": r"\b(?:in (?:great |full )?detail|detailed (?:answer|explanation|reply|response)|exhaustive(?:ly)?"
            r"|comprehensive(?:ly)?|thorough(?:ly)?|at length|several paragraphs|at least (?:\d+|two|three|five) "
            r"(?:paragraphs|sentences|words)|long (?:answer|explanation))\b",
        },
        "what else is written": {
            "nothing else": r"\b(?:JSON|XML|YAML|CSV|code|the (?:label|answer|number|category)) (?:alone|only)\b|\bonly (?:with |the |a |"
            r"valid |in )*(?:JSON|XML|YAML|CSV|code|label|number|category|one word)\b|\bnothing (?:else|but)\b",
            "an explanation": r"\b(?:explain (?:your|why|how|the)|with an? (?:short |brief )?explanation|justify|give (?:your |the )?reasons"
            r"|show your (?:work|reasoning))",
        },
        "tone": {
            "formal": r"\b(?<!in)formal(?:ly)?\b(?! or)",
            "informal": r"\b(?:informal(?:ly)?|casual(?:ly)?|slang|chatty|playful(?:ly)?)\b",
        },
        "knowledge": {
            "the text alone": r"\b(?:only|solely|exclusively|just) (?:on |from |use |using |with |by )*(?:the |this |these )?(?:given |provided )?"
            r"(?:text|context|sources?|documents?|passages?)\b|\b(?:text|context|sources?|documents?|passages?) (?:alone|only)\b",
            "what it knows": r"\b(?:your (?:own |general )?knowledge|what you (?:already )?know)\b",
        },
        "case": {"capitals": r"\b(?:all caps|upper ?case|capital letters)\b", "small letters": r"\blower ?case\b"},
        "not knowing": {
            "refuse": r"\bif (?:you (?:do not|don't|are not|aren't)|the \w+ does not|there is no)[^.\n]{0,60}(?:say|answer|reply|write)\b",
            "always answer": r"\b(?:always (?:give|provide|produce)? ?(?:an )?answer|never (?:refuse|say (?:that )?you (?:do not|don't) know))\b",
        },
    },
    "pt": {
        "length": {
            "brief": r"\b(?:(?:responda|seja|de forma) (?:muito )?(?:breve(?:mente)?|concis[oa]|curt[oa])|resposta curta"
            r"|em (?:apenas |só )?uma (?:única |só )?(?:frase|palavra)|em poucas palavras)\b",
            "at length": r"\b(?:em detalhes?|detalhadamente|resposta (?:detalhada|longa|completa e longa)|exaustiv\w+|vários parágrafos"
            r"|(?:pelo menos|no mínimo) (?:\d+|dois|três|cinco) (?:parágrafos|frases|palavras)|explicação (?:longa|detalhada))\b",
        },
        "what else is written": {
            "nothing else": r"\b(?:apenas|somente|só) (?:com |em |o |a |um |uma )*(?:JSON|XML|YAML|CSV|código|rótulo|número|categoria|palavra)\b"
            r"|\bnada (?:mais|além)\b",
            "an explanation": r"\b(?:explique|justifique|com (?:uma )?(?:breve )?(?:explicação|justificativa)|mostre (?:o|seu) raciocínio)",
        },
        "tone": {"formal": r"\b(?<!in)formal(?:mente)?\b", "informal": r"\b(?:informal(?:mente)?|descontraíd[oa]|gírias?|coloquial)\b"},
        "knowledge": {
            "the text alone": r"\b(?:apenas|somente|só|exclusivamente) (?:com base |a partir |n?[oa]s? |de |d[oa]s? |em )*"
            r"(?:texto|contexto|fontes?|documentos?|trechos?)\b",
            "what it knows": r"\b(?:seu (?:próprio )?conhecimento|conhecimento geral|o que você (?:já )?sabe)\b",
        },
        "case": {"capitals": r"\b(?:letras )?maiúsculas\b", "small letters": r"\b(?:letras )?minúsculas\b"},
        "not knowing": {
            "refuse": r"\bse (?:você )?não (?:sabe|souber|encontrar|houver)[^.\n]{0,60}(?:diga|responda|escreva)\b",
            "always answer": r"\b(?:sempre (?:dê uma resposta|responda)|nunca (?:recuse|diga que não sabe))\b",
        },
    },
    "es": {
        "length": {
            "brief": r"\b(?:(?:responde|responda|sé|sea) (?:muy )?(?:breve(?:mente)?|concis[oa])|respuesta corta"
            r"|en (?:solo )?una (?:sola )?(?:frase|palabra|oración)|en pocas palabras)\b",
            "at length": r"\b(?:en detalle|detalladamente|respuesta (?:detallada|larga)|exhaustiv\w+|varios párrafos"
            r"|(?:al menos|como mínimo) (?:\d+|dos|tres|cinco) (?:párrafos|frases|palabras)|explicación (?:larga|detallada))\b",
        },
        "what else is written": {
            "nothing else": r"\b(?:solo|sólo|solamente|únicamente) (?:con |en |el |la |un |una )*(?:JSON|XML|YAML|CSV|código|etiqueta|número|categoría|palabra)\b"
            r"|\bnada más\b",
            "an explanation": r"\b(?:explica|explique|justifica|justifique|con (?:una )?(?:breve )?(?:explicación|justificación)|muestra tu razonamiento)",
        },
        "tone": {"formal": r"\b(?<!in)formal(?:mente)?\b", "informal": r"\b(?:informal(?:mente)?|coloquial|desenfadad[oa]|jerga)\b"},
        "knowledge": {
            "the text alone": r"\b(?:solo|sólo|solamente|únicamente) (?:a partir |con base |en |de |del |el |la |los |las )*"
            r"(?:texto|contexto|fuentes?|documentos?|pasajes?)\b",
            "what it knows": r"\b(?:tu (?:propio )?conocimiento|conocimiento general|lo que (?:ya )?sabes)\b",
        },
        "case": {"capitals": r"\bmayúsculas\b", "small letters": r"\bminúsculas\b"},
        "not knowing": {
            "refuse": r"\bsi no (?:lo )?(?:sabes|sabe|encuentras|hay)[^.\n]{0,60}(?:di|diga|responde|escribe)\b",
            "always answer": r"\b(?:(?:siempre da una respuesta|responde siempre|siempre responde)|nunca (?:te niegues|digas que no sabes))\b",
        },
    },
}  # fmt: skip

ANSWER_LANGUAGE = {
    "en": r"\b(?:answer|reply|respond|write|output)\w*\b[^.\n]{0,40}?\bin (English|Portuguese|Spanish|French|German|Italian)\b",
    "pt": r"\b(?:respond|escrev|redij)\w*\b[^.\n]{0,40}?\bem (inglês|português|espanhol|francês|alemão|italiano)\b",
    "es": r"\b(?:respond|escrib|redact)\w*\b[^.\n]{0,40}?\ben (inglés|portugués|español|francés|alemán|italiano)\b",
}
_NUMBERS = r"(\d+|one|two|three|four|five|ten|uma?|dois|duas|três|quatro|cinco|dez|un|una|dos|tres|cuatro|cinco|diez)"
COUNTED = {
    "en": rf"\b(?:exactly|in|with|write|list|give|use|of) {_NUMBERS} (?:short |complete |bullet |single )?(sentence|word|paragraph|item|point|line)s?\b",
    "pt": rf"\b(?:exatamente|em|com|escreva|liste|dê|use|de) {_NUMBERS} (frase|palavra|parágrafo|ite[mn]|tópico|linha)s?\b",
    "es": rf"\b(?:exactamente|en|con|escribe|enumera|da|usa|de) {_NUMBERS} (frase|palabra|párrafo|elemento|punto|línea)s?\b",
}
NUMBERS = {
    **dict.fromkeys(("one", "um", "uma", "un", "una"), "1"), **dict.fromkeys(("two", "dois", "duas", "dos"), "2"),
    **dict.fromkeys(("three", "três", "tres"), "3"), **dict.fromkeys(("four", "quatro", "cuatro"), "4"),
    "five": "5", "cinco": "5", "ten": "10", "dez": "10", "diez": "10",
}  # fmt: skip

_CLAUSE = r"(?:(?<![^\n])[ \t]*(?:[-*•]|\d+[.)])?[ \t]*|(?<=[.!?;:,(])[ \t]+)"
"""Where a clause begins: a line's beginning, or after a mark."""
NEGATED = {
    "en": _CLAUSE + r"(?:please |and |but |also )?((?:do not|don't|never|avoid|refrain from)\s+\w+)"
    r"|\b(?:and|but|please) ((?:do not|don't|never|avoid) \w+)|\b(?:you )?((?:must|should|may) (?:not|never) \w+)",
    "pt": _CLAUSE
    + r"(?:por favor,? |e |mas )?((?:não|nunca|jamais) (?!sei\b|sabe|há|é\b|são\b|foi|está|encontr|tem\b|se\b|tenho)\w+|evite \w+)"
    r"|\b(?:e|mas) ((?:não|nunca|jamais) (?:use|inclua|responda|escreva|invente|mencione|repita|faça|dê|diga) ?\w*)"
    r"|\b((?:não|nunca) (?:deve|pode) \w+)",
    "es": _CLAUSE
    + r"(?:por favor,? |y |pero )?((?:no|nunca|jamás) (?!sé\b|lo\b|sabes?\b|hay|es\b|son\b|fue|está|encontr|tengo|se\b)\w+|evit[ae] \w+)"
    r"|\b(?:y|pero) ((?:no|nunca|jamás) (?:uses|incluyas|respondas|escribas|inventes|menciones|repitas|hagas|des|digas) ?\w*)"
    r"|\b((?:no|nunca) (?:debes?|puedes?) \w+)",
}
INSTEAD = {
    "en": r"\b(?:instead|rather|otherwise|but|only|say|write|answer|reply|respond|use|keep|replace)\b|:|;",
    "pt": r"\b(?:em vez|no lugar|ao contrário|senão|mas|apenas|somente|só|diga|escreva|responda|use|mantenha|substitua)\b|:|;",
    "es": r"\b(?:en vez|en lugar|sino|pero|solo|sólo|solamente|di|diga|escribe|responde|usa|mantén|sustituye)\b|:|;",
}
SPOKEN = {
    "en": r"\b(?:say|answer|reply|write|respond)(?: with)?: ?[^\n.]*",
    "pt": r"\b(?:diga|responda|escreva): ?[^\n.]*",
    "es": r"\b(?:di|diga|responde|escribe): ?[^\n.]*",
}
"""What the model is told to say: its words are no instructions."""

TASKS = {
    "en": {
        "summarise": r"summari[sz]e", "translate": r"translate", "classify": r"(?:classify|categori[sz]e|label)",
        "extract": r"extract", "rewrite": r"(?:rewrite|paraphrase|rephrase)", "explain": r"explain",
        "compare": r"compare", "correct": r"(?:correct|proofread)", "rate": r"(?:rate|score|grade)",
        "compose": r"(?:compose|draft|write an? (?:poem|story|e-?mail|letter|essay|post|title))",
        "answer": r"answer", "suggest": r"(?:suggest|recommend|propose)", "list": r"list",
    },
    "pt": {
        "summarise": r"(?:resuma|faça um resumo)", "translate": r"traduza", "classify": r"(?:classifique|categorize|rotule)",
        "extract": r"extraia", "rewrite": r"(?:reescreva|parafraseie)", "explain": r"explique", "compare": r"compare",
        "correct": r"(?:corrija|revise)", "rate": r"(?:avalie|dê uma nota|pontue)",
        "compose": r"(?:redija|componha|escreva um(?:a)? (?:poema|história|e-?mail|carta|texto|título))",
        "answer": r"responda", "suggest": r"(?:sugira|recomende|proponha)", "list": r"liste",
    },
    "es": {
        "summarise": r"(?:resume|resuma|haz un resumen)", "translate": r"(?:traduce|traduzca)",
        "classify": r"(?:clasifica|clasifique|categoriza|etiqueta)", "extract": r"(?:extrae|extraiga)",
        "rewrite": r"(?:reescribe|parafrasea)", "explain": r"(?:explica|explique)", "compare": r"compara",
        "correct": r"(?:corrige|corrija|revisa)", "rate": r"(?:evalúa|califica|puntúa)",
        "compose": r"(?:redacta|compón|escribe un(?:a)? (?:poema|historia|correo|carta|texto|título))",
        "answer": r"(?:responde|responda)", "suggest": r"(?:sugiere|recomienda|propón)", "list": r"(?:enumera|lista)",
    },
}  # fmt: skip
AND = {
    "en": r"and|then|also|and then|finally|next",
    "pt": r"e|depois|também|e depois|por fim|em seguida",
    "es": r"y|luego|después|también|por último|a continuación",
}
CLAUSE = _CLAUSE

FORMAT_WANTED = {
    "en": r"\b(?:answer|repl(?:y|ies)|respond|return|output|write|produce|give|format(?:ted)?|result|present)\w*\b[^.\n]{0,60}\b(JSON|XML|YAML|CSV|TSV|table)\b",
    "pt": r"\b(?:respond|retorn|devolv|escrev|produz|dê|format|apresent|saída)\w*\b[^.\n]{0,60}\b(JSON|XML|YAML|CSV|TSV|tabela)\b",
    "es": r"\b(?:respond|devuelv|escrib|produ[cz]|da|format|present|salida)\w*\b[^.\n]{0,60}\b(JSON|XML|YAML|CSV|TSV|tabla)\b",
}
FIELDS = {
    "en": r"\b(?:keys?|fields?|columns?|schema|propert(?:y|ies)|attributes?|elements?)\b",
    "pt": r"\b(?:chaves?|campos?|colunas?|esquema|propriedades?|atributos?|elementos?)\b",
    "es": r"\b(?:claves?|campos?|columnas?|esquema|propiedades?|atributos?|elementos?)\b",
}
LABELS_WANTED = {
    "en": r"\b(?:classify|categori[sz]e|label)\b|\bas (?:either )?(?:positive|negative)\b|\bJSON\b",
    "pt": r"\b(?:classifique|categorize|rotule)\b|\bcomo (?:positiv|negativ)[oa]\b|\bJSON\b",
    "es": r"\b(?:clasifica|clasifique|categoriza|etiqueta)\b|\bcomo (?:positiv|negativ)[oa]\b|\bJSON\b",
}

PERSONA = {
    "en": r"\b(?:(?:you are|you're) (?:an?|the)|act as(?: an?| the)?|you act as(?: an?| the)?|pretend to be(?: an?| the)?|take the role of(?: an?| the)?) ([\w -]{3,50})",
    "pt": r"\b(?:(?:você|vc) é (?:um|uma|o|a)|(?:aja como|atue como|finja ser|faça o papel de)(?: um| uma| o| a)?) ([\w -]{3,50})",
    "es": r"\b(?:(?:eres|usted es) (?:un|una|el|la)|(?:actúa como|actúe como|finge ser|haz el papel de)(?: un| una| el| la)?) ([\w -]{3,50})",
}
"""A role has an article: “you are able to” and “you are describing” are none."""
DESCRIBED = {
    "en": r"\byou (?:answer|write|are|help|work|speak|translate|classify|summari[sz]e|read|give|extract|will)|\byour (?:task|job|role)\b",
    "pt": r"\bvocê (?:responde|escreve|é|ajuda|trabalha|fala|traduz|classifica|resume|lê|dá|extrai|vai)|\bsua (?:tarefa|função)\b|\bseu papel\b",
    "es": r"\b(?:respondes|escribes|eres|ayudas|trabajas|hablas|traduces|clasificas|resumes|lees|das|extraes)\b|\btu (?:tarea|función|papel)\b",
}
"""The system's text says what it is that answers, with or without a role."""

ORDERS = {
    "en": r"(?:please |now |always |only )?(?:answer|reply|respond|write|say|use|return|give|list|summari[sz]e|translate|explain|classify|extract|remember|make sure|do not|don't|never|keep|cite)\b",
    "pt": r"(?:por favor,? |agora |sempre |apenas )?(?:responda|escreva|diga|use|retorne|dê|liste|resuma|traduza|explique|classifique|extraia|lembre|não (?:use|inclua|responda|invente)|mantenha|cite)\b",
    "es": r"(?:por favor,? |ahora |siempre |solo )?(?:responde|responda|escribe|escriba|di|usa|use|devuelve|da|enumera|resume|traduce|explica|clasifica|extrae|recuerda|no (?:uses|incluyas|respondas|inventes)|mantén|cita)\b",
}
DATA_DECLARED = {
    "en": r"\b(?:is|are|as) (?:only |just |purely )?(?:data|untrusted|material|reference material)\b|\bnot (?:as )?(?:instructions|orders|commands)\b"
    r"|\b(?:ignore|disregard|do not (?:follow|obey|execute)|never (?:follow|obey|execute))[^.\n]{0,60}(?:instructions?|orders?|commands?)\b"
    r"|\b(?:instructions?|orders?|commands?) (?:in|inside|within|that stand in)\b[^.\n]{0,60}\b(?:not|never|ignored?)\b",
    "pt": r"\b(?:é|são|como) (?:apenas |só |somente )?(?:dados?|material|não confiáve(?:l|is))\b|\bnão (?:são |como )(?:instruções|ordens|comandos)\b"
    r"|\b(?:ignore|desconsidere|não (?:siga|obedeça|execute)|nunca (?:siga|obedeça|execute))[^.\n]{0,60}(?:instruções|instrução|ordens|comandos?)\b"
    r"|\b(?:instruções|ordens|comandos) (?:no|na|nos|nas|dentro|que)\b[^.\n]{0,60}\b(?:não|nunca|ignorad[oa]s)\b",
    "es": r"\b(?:es|son|como) (?:solo |sólo |únicamente )?(?:datos?|material|no confiables?)\b|\bno (?:son |como )(?:instrucciones|órdenes|comandos)\b"
    r"|\b(?:ignora|ignore|no (?:sigas|siga|obedezcas|ejecutes)|nunca (?:sigas|obedezcas|ejecutes))[^.\n]{0,60}(?:instrucciones|instrucción|órdenes|comandos?)\b"
    r"|\b(?:instrucciones|órdenes|comandos) (?:en|dentro|que)\b[^.\n]{0,60}\b(?:no|nunca|ignorad[oa]s)\b",
}  # fmt: skip
