"""Losses that ``rejected_losses.py`` measures; each adds a term to the in-batch negatives.

    from benchmarks.methods_losses import LanguageCorrelationLoss

    HybridTrainer(model, args, pairs, loss=LanguageCorrelationLoss(model, weight=1.0, scale=100))

They need no column of texts besides those of pairs, and train in any trainer that takes the library's own loss.
"""

from __future__ import annotations

import torch
from sentence_transformers.util import cos_sim
from torch import Tensor
from torch.nn.functional import one_hot

from st_hybrid.methods.added_term import AddedTermLoss
from st_hybrid.methods.anchor import AnchorDistillationLoss


class ScoreConsistencyLoss(AddedTermLoss):
    """The divergence between the scores that a text and its translation give to the other passages of the batch.

    For bitext: the positive of a cross-lingual pair is its query in another language. At the loss's temperature the
    query's and the positive's cosines with the other positives of the batch are two distributions; the term is their
    Jeffreys divergence, halved: the mean of the Kullback-Leibler divergences in both directions. Both are trained.
    The pair's own positive, which is at cosine 1 from itself, and others of its cluster are left out. Monolingual pairs
    add 0. Pairs of a question and its answer are no bitext: for these take ``AnchorScoresLoss``.

    After LaKDA, which aligns the scores of a query in several languages: Yang, Jiang and Baldwin 2024,
    https://arxiv.org/abs/2509.06195
    """

    name = "consistency"

    def term(self, queries: Tensor, positives: Tensor, labels: Tensor) -> Tensor:
        """The mean divergence over the pairs of the batch."""
        labels = labels.to(queries.device)
        left_out = labels[:, :1] == labels[:, 0]
        one, other = (log_distribution(cos_sim(side, positives), self.scale, left_out) for side in (queries, positives))
        divergence = ((one.exp() - other.exp()) * (one - other)).sum(dim=1) / 2
        return (divergence * (labels[:, 1] != labels[:, 2])).mean()


class AnchorScoresLoss(AnchorDistillationLoss):
    """The divergence of a query's scores from those of its translation into the anchor language, by the start.

    For any parallel rows: the start's vectors of the anchor's queries and positives give the distribution of an English
    query over the batch's passages in English, and the student's query in any language must give the same over the
    passages that the batch holds. The term is the Kullback-Leibler divergence from the former, at the loss's
    temperature, over the pairs that have anchor rows.

    After LaKDA, with the start's English in the place of the student's: https://arxiv.org/abs/2509.06195
    """

    name = "consistency"

    def term(self, queries: Tensor, positives: Tensor, labels: Tensor) -> Tensor:
        """The mean divergence over the pairs of the batch; a pair without anchor rows adds 0."""
        known = (labels[:, -2:] >= 0).all(dim=1)
        if not known.any():
            return queries.new_zeros(())
        rows, cluster = labels[known, -2:], labels[known, 0].to(queries.device)
        left_out = (cluster[:, None] == cluster).fill_diagonal_(False)
        start = (self.teacher.of_rows(rows[:, 0], "query"), self.teacher.of_rows(rows[:, 1], "positive"))
        known = known.to(queries.device)
        target = log_distribution(cos_sim(*(side.float().to(queries.device) for side in start)), self.scale, left_out)
        found = log_distribution(cos_sim(queries[known], positives[known]), self.scale, left_out)
        return (target.exp() * (target - found)).sum() / len(queries)


class LanguageCorrelationLoss(AddedTermLoss):
    """The squared correlation of the dimensions of embeddings with the languages of their texts.

    The mean over dimensions and languages of the squared Pearson correlation between a dimension's values in the batch
    and membership in a language, with the means of queries and of passages removed beforehand. It is 0 where each
    language has the same mean, and in batches of one language. With independent vectors it is about one part in the
    number of texts, so a batch needs many more texts than languages.

    After LANCER, which penalizes the cross-correlation of representations with language labels: Huang, Yu, Ravfogel and
    Allan 2024, EMNLP, https://aclanthology.org/2024.emnlp-main.736
    """

    name = "correlation"

    def term(self, queries: Tensor, positives: Tensor, labels: Tensor) -> Tensor:
        """The mean squared correlation in the batch."""
        labels = labels.to(queries.device)
        _, languages = labels[:, 1:3].unique(return_inverse=True)
        member = one_hot(languages).to(torch.promote_types(queries.dtype, torch.float32))  # (batch, 2, languages)
        values = torch.stack([queries, positives], dim=1).to(member.dtype)
        values, member = ((part - part.mean(dim=0)).flatten(0, 1) for part in (values, member))
        spread = values.norm(dim=0)[:, None] * member.norm(dim=0)
        return (values.T @ member / spread.clamp_min(torch.finfo(spread.dtype).eps)).square().mean()


def log_distribution(cosines: Tensor, scale: float, left_out: Tensor) -> Tensor:
    """Logarithms of the softmax of each row's scores, and 0 for those left out, which thus add to no divergence."""
    scores = (cosines.to(torch.promote_types(cosines.dtype, torch.float32)) * scale).masked_fill(left_out, -1e9)
    return scores.log_softmax(dim=1).masked_fill(left_out, 0.0)
