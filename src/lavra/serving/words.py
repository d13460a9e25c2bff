"""Every text of the pages, in every language of the pages: one table."""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = {"en": "English", "pt": "Português", "es": "Español"}

TABLE: dict[str, tuple[str, str, str]] = {
    # key: English, Portuguese, Spanish
    "tagline": (
        "Ask your documents",
        "Pergunte aos seus documentos",
        "Pregunte a sus documentos",
    ),
    "welcome": (
        "Answers come from the documents indexed here, and every one cites the passages it stands on.",
        "As respostas vêm dos documentos indexados aqui, e cada uma cita os trechos em que se apoia.",
        "Las respuestas salen de los documentos indexados aquí, y cada una cita los pasajes en que se apoya.",
    ),
    "empty": (
        "There are no documents yet. Add some, then ask.",
        "Ainda não há documentos. Adicione alguns e pergunte.",
        "Todavía no hay documentos. Añada algunos y pregunte.",
    ),
    "try": ("Try one of these", "Experimente uma destas", "Pruebe una de estas"),
    "question": ("Your question", "Sua pergunta", "Su pregunta"),
    "placeholder": ("Ask a question…", "Faça uma pergunta…", "Haga una pregunta…"),
    "send": ("Send", "Enviar", "Enviar"),
    "stop": ("Stop", "Parar", "Detener"),
    "keys": (
        "Enter sends, Shift+Enter starts a new line, Esc stops.",
        "Enter envia, Shift+Enter quebra a linha, Esc para.",
        "Enter envía, Mayús+Enter cambia de línea, Esc detiene.",
    ),
    "add": ("Add documents", "Adicionar documentos", "Añadir documentos"),
    "drop": ("Drop files to add them", "Solte os arquivos para adicioná-los", "Suelte los archivos para añadirlos"),
    "new": ("New conversation", "Nova conversa", "Nueva conversación"),
    "language": ("Language", "Idioma", "Idioma"),
    "skip": ("Skip to the question", "Ir para a pergunta", "Ir a la pregunta"),
    "conversation": ("Conversation", "Conversa", "Conversación"),
    "you": ("You", "Você", "Usted"),
    "document_one": ("{n} document", "{n} documento", "{n} documento"),
    "document_many": ("{n} documents", "{n} documentos", "{n} documentos"),
    "passage_one": ("{n} passage", "{n} trecho", "{n} pasaje"),
    "passage_many": ("{n} passages", "{n} trechos", "{n} pasajes"),
    "sources": ("Sources", "Fontes", "Fuentes"),
    "source_n": ("Source {n}", "Fonte {n}", "Fuente {n}"),
    "open_source": ("Open source {n}: {title}", "Abrir a fonte {n}: {title}", "Abrir la fuente {n}: {title}"),
    "close": ("Close", "Fechar", "Cerrar"),
    "own_page": ("Open on its own page", "Abrir em página própria", "Abrir en su propia página"),
    "page": ("Page {label}", "Página {label}", "Página {label}"),
    "page_short": ("p. {label}", "p. {label}", "p. {label}"),
    "slide": ("Slide {label}", "Slide {label}", "Diapositiva {label}"),
    "sheet": ("Sheet {label}", "Planilha {label}", "Hoja {label}"),
    "record": ("Record {label}", "Registro {label}", "Registro {label}"),
    "part": ("Part {n} of {count}", "Parte {n} de {count}", "Parte {n} de {count}"),
    "previous": ("Previous part", "Parte anterior", "Parte anterior"),
    "next": ("Next part", "Próxima parte", "Parte siguiente"),
    "licence": ("Licence", "Licença", "Licencia"),
    "owner": ("Owner", "Responsável", "Responsable"),
    "table": ("Table", "Tabela", "Tabla"),
    "cited": ("Cited passage", "Trecho citado", "Pasaje citado"),
    "back": ("Back to the questions", "Voltar às perguntas", "Volver a las preguntas"),
    "searching": ("Searching the documents…", "Procurando nos documentos…", "Buscando en los documentos…"),
    "reading": ("Reading {passages}…", "Lendo {passages}…", "Leyendo {passages}…"),
    "waiting": ("Waiting: {n} before you…", "Na fila: {n} antes de você…", "En espera: {n} antes de usted…"),
    "stopped": ("Stopped.", "Interrompida.", "Detenida."),
    "cut": (
        "The answer reached its length limit.",
        "A resposta chegou ao limite de tamanho.",
        "La respuesta llegó a su límite de longitud.",
    ),
    "no_source": (
        "Nothing good enough was found in the documents.",
        "Nada suficientemente bom foi encontrado nos documentos.",
        "No se encontró nada suficientemente bueno en los documentos.",
    ),
    "done": ("Answer complete.", "Resposta completa.", "Respuesta completa."),
    "copy": ("Copy", "Copiar", "Copiar"),
    "copied": ("Copied", "Copiado", "Copiado"),
    "adding": ("Adding {name}…", "Adicionando {name}…", "Añadiendo {name}…"),
    "added": ("{name} added: {passages}", "{name} adicionado: {passages}", "{name} añadido: {passages}"),
    "skipped": (
        "{name} was not added: {reason}",
        "{name} não foi adicionado: {reason}",
        "{name} no se añadió: {reason}",
    ),
    "too_large": (
        "{name} is larger than {limit} MB",
        "{name} é maior que {limit} MB",
        "{name} supera los {limit} MB",
    ),
    "queue_full": (
        "Too many people are asking right now. Try again in {n} seconds.",
        "Muita gente está perguntando agora. Tente de novo em {n} segundos.",
        "Hay demasiadas preguntas ahora. Inténtelo de nuevo en {n} segundos.",
    ),
    "unreachable": (
        "The server does not answer. Is it still running?",
        "O servidor não responde. Ele ainda está em execução?",
        "El servidor no responde. ¿Sigue en marcha?",
    ),
    "failed": ("That did not work: {reason}", "Não deu certo: {reason}", "No funcionó: {reason}"),
    "retry": ("Try again", "Tentar de novo", "Reintentar"),
    "key_title": ("This server asks for a key", "Este servidor pede uma chave", "Este servidor pide una clave"),
    "key_text": (
        "It decides which documents you may see. It stays in this tab and is forgotten with it.",
        "Ela decide quais documentos você pode ver. Fica nesta aba e é esquecida com ela.",
        "Decide qué documentos puede ver. Queda en esta pestaña y se olvida con ella.",
    ),
    "key_label": ("API key", "Chave de API", "Clave de API"),
    "key_wrong": (
        "This key is not known here.",
        "Esta chave não é conhecida aqui.",
        "Esta clave no se conoce aquí.",
    ),
    "key_enter": ("Continue", "Continuar", "Continuar"),
    "no_script": (
        "This page needs JavaScript, all of which comes from this server.",
        "Esta página precisa de JavaScript, que vem todo deste servidor.",
        "Esta página necesita JavaScript, que viene todo de este servidor.",
    ),
    "disclaimer": (
        "A model can be wrong: check the cited passage.",
        "Um modelo pode errar: confira o trecho citado.",
        "Un modelo puede equivocarse: compruebe el pasaje citado.",
    ),
}


@dataclass(frozen=True, slots=True)
class Words:
    """The table in one language."""

    language: str

    def __getitem__(self, key: str) -> str:
        return TABLE[key][list(LANGUAGES).index(self.language)]

    def fill(self, key: str, **values: object) -> str:
        return self[key].format(**values)

    def count(self, noun: str, n: int) -> str:
        """``1 document``, ``1,234 documents``: digits grouped as the language does."""
        grouped = f"{n:,}" if self.language == "en" else f"{n:,}".replace(",", ".")
        return self[f"{noun}_{'one' if n == 1 else 'many'}"].format(n=grouped)

    def all(self) -> dict[str, str]:
        """For the script."""
        return {key: self[key] for key in TABLE}


def choose(asked: str | None, accept_language: str | None) -> Words:
    """The language asked for in the address, else the best of ``Accept-Language`` (RFC 9110, 12.5.4), else English."""
    if asked in LANGUAGES:
        return Words(asked)
    best, weight = "en", 0.0
    for item in (accept_language or "").split(","):
        tag, _, parameters = item.strip().partition(";")
        language = tag.strip().lower().split("-")[0]
        try:
            quality = float(parameters.replace(" ", "").removeprefix("q=")) if parameters else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and quality > weight:
            best, weight = language, quality
    return Words(best)
