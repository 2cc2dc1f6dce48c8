"""A one-line explanation of each story metric, shown in the report."""

MEANINGS = {
    "ended": "fraction of stories that reach end-of-text",
    "words": "words per story",
    "distinct_1": "fraction of words that are distinct",
    "distinct_2": "fraction of word bigrams that are distinct",
    "distinct_3": "fraction of word trigrams that are distinct",
    "self_bleu": "how similar the stories are to each other",
    "repeated_4grams": "fraction of 4-grams that occur earlier in the story",
    "known_4grams": "fraction of 4-grams that occur in training stories",
    "known_8grams": "fraction of 8-grams that occur in training stories",
    "longest_copy": "mean length in words of the longest match with a training story",
    "unknown_words": "fraction of words that are in no training story",
    "balanced_quotes": "fraction of stories whose quotation marks are balanced",
    "attributed_dialogue": "fraction of quotations that name the speaker",
    "agreeing_pronouns": "fraction of pronouns that agree with the named girl or boy",
    "ending_rouge2_train": "bigram overlap with the true ending of a truncated training story",
    "ending_rouge2_val": "bigram overlap with the true ending of a truncated held-out story",
    "nearest_rouge2": "bigram overlap with the most similar other ending",
    "mean_log_probability": "mean log-probability of the model's own tokens [nats]",
    "stories": "number of stories behind these metrics",
}
