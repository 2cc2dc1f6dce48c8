"""Before the first step: how many processes train, how much memory they take, what the log says about the run."""
