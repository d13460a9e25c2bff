"""Words that join others and name nothing, left out of a question's lexical search.

Leaving them out of the *question* alone was measured to help everywhere (MRR of BM25: FaQuAD .880 → .890, Pirá in
Portuguese .809 → .818 and in English .857 → .876, XQuAD +.003 to +.005): their idf is small but there are many of
them, and interrogatives ("how many") are in no answer. Documents keep them, so that phrases stay phrases. Words of
measure or negation that can decide an answer ("não", "mais", "not", "antes") are not in the lists.
"""

from __future__ import annotations

_PORTUGUESE = """
    a à às ao aos o os as um uma uns umas de do da dos das dum duma em no na nos nas num numa por pelo pela pelos pelas
    para pra com e ou que quê se como qual quais quem onde aonde quando cujo cuja quanto quanta quantos quantas
    é são foi foram era eram ser sido sendo está estão estava há havia tem têm tinha
    ele ela eles elas eu nós você vocês me te lhe lhes seu sua seus suas meu minha isto isso aquilo este esta estes
    estas esse essa esses essas aquele aquela aqueles aquelas mas já também muito entre até sobre
"""
_SPANISH = """
    a al el la los las lo un una unos unas de del en por para con y e o u que qué se si como cómo cual cuál cuales
    cuáles quien quién quienes quiénes donde dónde adónde cuando cuándo cuyo cuya cuanto cuánto cuanta cuánta cuantos
    cuántos cuantas cuántas es son fue fueron era eran ser sido siendo está están estaba ha han había hay tiene tienen
    él ella ellos ellas yo nosotros me te le les su sus mi mis esto eso este esta estos estas ese esa esos esas aquel
    aquella pero ya también muy entre hasta sobre
"""
_ENGLISH = """
    a an the of in on at to for from with by as and or that this these those it its is are was were be been being am
    do does did has have had what which who whom whose when where why how many much he she they them him her his their
    we you i your my our there but also than into about between
"""

FUNCTION_WORDS = {
    "pt": frozenset(_PORTUGUESE.split()),
    "es": frozenset(_SPANISH.split()),
    "en": frozenset(_ENGLISH.split()),
}
"""By language, lower-case, with their accents."""
