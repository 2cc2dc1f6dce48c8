"""What each figure of stories says, in a line, for people who read it in a table."""

MEANINGS = {
    "ended": "stories that end by themselves",
    "words": "words of a story",
    "distinct_1": "different words among all",
    "distinct_2": "different pairs of words among all",
    "distinct_3": "different triples of words among all",
    "self_bleu": "how alike the stories are among themselves",
    "repeated_4grams": "runs of 4 words that stood in the story before",
    "known_4grams": "runs of 4 words that stand in training stories",
    "known_8grams": "runs of 8 words that stand in training stories",
    "longest_copy": "words of the longest run that stands in a training story",
    "unknown_words": "words that are in no training story",
    "balanced_quotes": "stories whose quotation marks pair up",
    "attributed_dialogue": "quotations that say who speaks",
    "agreeing_pronouns": "pronouns that agree with the named girl or boy",
    "ending_rouge2_train": "pairs of words in common with the ending of a cut training story",
    "ending_rouge2_val": "the same for a held-out story",
    "nearest_rouge2": "pairs of words in common with the most similar other ending",
    "mean_log_probability": "of the model's own tokens, in nats",
    "stories": "behind these figures",
}
