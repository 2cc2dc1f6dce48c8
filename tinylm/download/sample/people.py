"""The characters of a story: the hero with the opening, family, friends and wise animals."""

from tinylm.download.sample import words
from tinylm.download.sample.notation import Row, Table, Teller, columns, names, records

# Opening sentences with their weights: percent of the stories with an introduction.
OPENINGS = (
    (32, "Once upon a time, there was a little {hero.kind}{hero.named}. {trait_line}"),
    (16, "Once upon a time, there was a {hero.trait} [little |young |]{hero.kind}{hero.named}."),
    (15, "Once upon a time, {hero.land}, there [was|lived] a [little|{hero.trait}] {hero.kind}{hero.named}."),
    (5, "Once upon a time, there lived a {hero.trait} {hero.kind}{hero.named}."),
    (11, "There was a small {hero.kind}{hero.named}. {trait_line}"),
    (10, "{hero.quiet}, there [was|lived] a [little|{hero.trait}|{hero.trait} little] {hero.kind}{hero.named}."),
    (7, "Once there was a {hero.trait} [little |]{hero.kind}{hero.named}."),
    (4, "[Long ago|A long time ago], there was a little {hero.kind}{hero.named}. {trait_line}"),
)
OPENINGS_BY_WEIGHT = tuple(text for weight, text in OPENINGS for _ in range(weight))
BEGINS_AT_ONCE = 0.14  # fraction without an introduction: "One day, a little girl named Lily lost her ball."

PARENTS = columns(
    "name; call; word; he",
    """
    [{his} mom|{his} mom|{his} mother]; Mom; mom; she
    [{his} dad|{his} dad|{his} father]; Dad; dad; he
    """,
)
GRANDPARENTS = columns(
    "name; call; word; he",
    """
    {his} grandma; Grandma; grandma; she
    {his} grandpa; Grandpa; grandpa; he
    """,
)
NEIGHBOURS = columns(
    "name; he",
    """
    Mrs. Green; she
    Mr. Brown; he
    Mrs. White; she
    Mr. Lee; he
    Mrs. Hill; she
    Mr. Gray; he
    Mrs. Bell; she
    Mr. Wood; he
    """,
)
# `quiet` begins a sentence, `land` is used inside one; `treats` can be eaten and shared.
WORLDS = records(
    """
    name: forest
    land: in [a green forest|a big forest|a forest by a hill|a forest far away|an old forest]
    quiet: In a quiet forest
    treats: [berries|nuts|apples|mushrooms]

    name: farm
    land: on [a farm|a big farm|a little farm|a farm by a river|a sunny farm]
    quiet: In a quiet village
    treats: [apples|carrots|pears|berries]

    name: jungle
    land: in [a big jungle|a warm jungle|a green jungle|a jungle far away]
    quiet: In a quiet jungle
    treats: [bananas|coconuts|nuts|berries]

    name: sea
    land: in [the blue sea|the deep sea|the big blue sea|a warm sea]
    quiet: In a quiet part of the sea
    treats: [shrimps|snails|sea plants]
    """
)
ANIMALS: dict[str, Table] = {
    "forest": words.FOREST_ANIMALS,
    "farm": words.FARM_ANIMALS,
    "jungle": words.JUNGLE_ANIMALS,
    "sea": words.SEA_ANIMALS,
}
ON_LAND = ("forest", "forest", "farm", "farm", "jungle")
YOUNG = names("puppy kitten lamb chick")
GROWN = tuple(row["kind"] for table in ANIMALS.values() for row in table if row["kind"] not in YOUNG)
Kinds = tuple[str, ...]  # animals that suit a plot; empty: all


def child(t: Teller, traits: Table = words.TRAITS) -> None:
    """Cast a girl or a boy as the hero, with a name, a trait and something she or he loves to do."""
    girl = t.chance(0.5)
    name = t.pick_early(words.GIRLS if girl else words.BOYS)
    hero = {
        **(words.GIRL if girl else words.BOY),
        "name": name,
        "call": name,
        "named": f" named {name}",
        "land": f"in {t.draw(words.HOMES)['name']}",
        "quiet": "In a quiet village",
        "loves": t.draw(words.WAYS_TO_PLAY)["name"],
        "joy": "[jumped up and down|clapped {his} hands|danced around]",
    }
    _open(t, hero, traits)


def animal(t: Teller, worlds: tuple[str, ...] = ON_LAND, traits: Table = words.TRAITS, kinds: Kinds = ()) -> None:
    """Cast an animal as the hero, and its `world`. A third of the animals have no proper name."""
    where = t.pick(worlds)
    world = next(row for row in WORLDS if row["name"] == where)
    t.cast("world", world)
    row = t.draw(_animals(world["name"], kinds))
    name = t.pick_early(words.ANIMAL_NAMES)
    named = {"name": name, "call": name, "named": f" named {name}"}
    if t.chance(0.35):
        named = {"name": f"the [little |]{row['kind']}", "call": f"little {row['kind']}", "named": ""}
    pronouns = words.SHE if t.chance(0.5) or row["kind"] in words.ALWAYS_SHE else words.HE
    _open(t, {**row, **named, "land": world["land"], "quiet": world["quiet"], **pronouns}, traits)


def _animals(world: str, kinds: Kinds) -> Table:
    return tuple(row for row in ANIMALS[world] if not kinds or row["kind"] in kinds)


def _open(t: Teller, hero: Row, traits: Table) -> None:
    t.cast("hero", hero, trait=t.pick(traits)["name"])
    if traits is not words.TRAITS:  # the usual trait lines suit only good traits, not proud or shy
        t.cast("trait_line", {"name": "{He} was very {hero.trait}."})
    t.introduces = not t.chance(BEGINS_AT_ONCE)
    if t.introduces:
        t.cast("opening", {"name": t.pick(OPENINGS_BY_WEIGHT)})
        t.cast("who", {"name": "{hero}"})
        t.cast("one_day", {"name": "[One day|One day|One morning], {hero}"})
    else:
        t.cast("who", {"name": "a little {hero.kind}{hero.named}"})
        t.cast("one_day", {"name": "One day, {who}"})


def family(t: Teller, slot: str = "helper", members: Table = PARENTS + PARENTS + GRANDPARENTS) -> None:
    """Cast a member of the hero's family."""
    row = t.draw(members)
    t.cast(slot, row, a=f"{{{slot}}}", **_pronouns(row["he"]))


def neighbour(t: Teller, slot: str = "neighbour") -> None:
    """Cast a neighbour."""
    row = t.draw(NEIGHBOURS)
    t.cast(slot, row, call=row["name"], **_pronouns(row["he"]))


def _pronouns(he: str) -> Row:
    return words.SHE if he == "she" else words.HE


def another_child(t: Teller, slot: str = "friend") -> None:
    """Cast a child with another name; mostly the other gender, so that "he" and "she" stay clear."""
    girl = (t.rows["hero"]["he"] == "he") == t.chance(0.7)
    name = t.pick_early(words.GIRLS if girl else words.BOYS)
    while name == t.rows["hero"]["name"]:
        name = t.pick_early(words.GIRLS if girl else words.BOYS)
    row = {"name": name, "call": name, "a": f"{{his}} [friend|friend|best friend|good friend] {name}"}
    t.cast(slot, row, **(words.GIRL if girl else words.BOY))


def another_animal(
    t: Teller, slot: str = "friend", looks: str = "[little|friendly|small|kind]", kinds: Kinds = ()
) -> None:
    """Cast an animal of another kind from the hero's world."""
    cast_animal(t, slot, t.draw(_animals(t.rows["world"]["name"], kinds)), looks)


def cast_animal(t: Teller, slot: str, row: Row, looks: str = "") -> None:
    """Cast an animal without a proper name; mostly not of the hero's gender."""
    kind = row["kind"]
    she = (t.rows["hero"]["he"] == "he") == t.chance(0.7) or kind in words.ALWAYS_SHE
    who = {"name": f"the {kind}", "call": kind.capitalize(), "a": f"a {looks} {kind}"}
    t.cast(slot, {**row, **who}, **(words.SHE if she else words.HE))


def wise_animal(t: Teller, slot: str = "helper") -> None:
    """Cast a wise, grown-up animal of another kind from the hero's world."""
    another_animal(t, slot, "[wise|wise old|kind old]", GROWN)


def cries_for_help(t: Teller, share: float) -> bool:
    """Decide with probability `share` to begin with '"Help!" said ...'; such a story keeps its first paragraph."""
    if not t.chance(share):
        return False
    t.introduces = True
    t.cast("who", {"name": "{hero}"})
    return True
