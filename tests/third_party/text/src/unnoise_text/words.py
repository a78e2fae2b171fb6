"""Whether made texts consist of words."""

from unnoise.contracts import Metric, Score


class Words(Metric):
    """Share of the words in made texts, weighted by their length, that the training or test texts know. The floor is
    that of test texts by training words alone.
    """

    def __call__(self, evidence):
        train = {word for i in range(len(evidence.train)) for word in evidence.train[i].split()}
        test = [evidence.test[i] for i in range(len(evidence.test))]
        known = train | {word for text in test for word in text.split()}

        def share(texts, known):
            words = [word for text in texts for word in text.split()]
            return sum(len(word) for word in words if word in known) / max(sum(map(len, words)), 1)

        ceiling = share(evidence.noise, known) if len(evidence.noise) else None
        note = f"N={len(evidence.generated)}, {len(known)} words known"
        return [Score("words", share(evidence.generated, known), share(test, train), ceiling, "higher", note)]
