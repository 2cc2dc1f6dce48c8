"""Sentences that many plots share. A plot refers to one as {happy}; a story repeats none while others are left."""

PHRASES: dict[str, tuple[str, ...]] = {
    "trait_line": (
        "{He} was very {hero.trait}.",
        "{He} was a {hero.trait} {hero.kind}.",
        "Everyone liked {him} because {he} was so {hero.trait}.",
    ),
    "loves": (
        "{He} loved to {hero.loves}.",
        "{He} liked to {hero.loves} every day.",
        "Most of all, {he} loved to {hero.loves}.",
    ),
    "happy": (
        "{Hero} was [so|very] happy.",
        "{Hero} felt very happy.",
        "{Hero} smiled a big smile.",
        "{Hero} was so happy that {he} {hero.joy}.",
        "{Hero} had a big smile on {his} face.",
        "{Hero} could not stop smiling.",
    ),
    "sad": (
        "{Hero} was [very|so] sad.",
        "{Hero} felt [very |]sad.",
        "{Hero} [started|began] to cry.",
        "{Hero} wanted to cry.",
        "{Hero} felt like crying.",
        "A tear rolled down {his} face.",
    ),
    "asks": (
        '{Helper} saw that {hero} was sad. "What is wrong, {hero.call}?" {helper.he} asked.',
        '{Helper} heard {him} and asked, "What is wrong, {hero.call}?"',
        '{Helper} came and asked, "Why are you sad, {hero.call}?"',
        '"Why do you look so sad, {hero.call}?" asked {helper}.',
    ),
    "thanks": (
        '"Thank you, {helper.call}!" said {hero}.',
        '{Hero} gave {helper} a big hug and said, "Thank you!"',
        '"Thank you, thank you!" said {hero}.',
        '"Thank you so much for your help, {helper.call}," said {hero}.',
    ),
    "good_night": (
        "That night, {hero} fell asleep with a smile on {his} face.",
        "When {he} went to bed that night, {hero} was still smiling.",
        "That night, {hero} was tired but very happy.",
        "It was a [very good|wonderful] day.",
    ),
    "ever_after": (
        "And they all lived happily ever after.",
        "And they lived happily ever after.",
        "The end.",
    ),
}
