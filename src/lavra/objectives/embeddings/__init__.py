"""embeddings: losses over vectors of texts, one a file. Which to take:

| your data | loss |
|---|---|
| pairs that belong together: question and passage, title and section | ``MultipleNegativesRanking`` |
| the same with mined negatives | ``MultipleNegativesRanking``; ``Triplet`` where batches must be tiny |
| pairs with a grade | ``CoSENT`` for the order, ``CosineSimilarity`` for the number |
| pairs with yes or no | ``OnlineContrastive``, ``Contrastive`` |
| texts and a teacher | ``MeanSquaredError`` |
| any of these, vectors to be cut short | ``Matryoshka`` around it |

``objective.py`` makes any of them what the training loop asks for, ``cached.py`` in the memory of a small batch.
"""

from lavra.objectives.embeddings.contrastive import Contrastive, OnlineContrastive
from lavra.objectives.embeddings.cosent import CoSENT
from lavra.objectives.embeddings.cosine_similarity import CosineSimilarity
from lavra.objectives.embeddings.loss import VectorLoss
from lavra.objectives.embeddings.matryoshka import Matryoshka
from lavra.objectives.embeddings.mean_squared_error import MeanSquaredError
from lavra.objectives.embeddings.multiple_negatives import MultipleNegativesRanking
from lavra.objectives.embeddings.objective import Embedding, TextTuple
from lavra.objectives.embeddings.triplet import Triplet

__all__ = [
    "LOSSES",
    "CoSENT",
    "Contrastive",
    "CosineSimilarity",
    "Embedding",
    "Matryoshka",
    "MeanSquaredError",
    "MultipleNegativesRanking",
    "OnlineContrastive",
    "TextTuple",
    "Triplet",
    "VectorLoss",
]

LOSSES: dict[str, type[VectorLoss]] = {
    "multiple-negatives": MultipleNegativesRanking,
    "triplet": Triplet,
    "cosent": CoSENT,
    "cosine": CosineSimilarity,
    "contrastive": Contrastive,
    "online-contrastive": OnlineContrastive,
    "mse": MeanSquaredError,
}
"""By the names that the command line knows."""
