"""Word tables shared by several plots. To add a word, add an entry; earlier names are drawn more often."""

from tinylm.download.sample.notation import columns, names, words

SHE = {"he": "she", "him": "her", "his": "her", "himself": "herself"}
HE = {"he": "he", "him": "him", "his": "his", "himself": "himself"}
GIRL = {**SHE, "kind": "girl", "sibling": "sister"}
BOY = {**HE, "kind": "boy", "sibling": "brother"}

GIRLS = names(
    """Lily Mia Sue Lucy Anna Amy Sara Emma Molly Jane Ella Rose Daisy Lola Nina Kate Sally Ruby Zoe Mary Ellie
    Nora Grace Clara Ivy Maya Luna Holly Polly Penny Tina Rosie Alice Eva Jenny Bella Stella Sophie Hannah Tess"""
)
BOYS = names(
    """Tim Tom Ben Max Sam Jack Leo Bob Timmy Billy Joe Dan Jake Mark Adam Peter Fred John Luke Noah Oscar Toby
    Finn Nick Harry Charlie Danny Jim Theo Henry Oliver Paul Eli Alex Matt Will George Owen Ned Hugo"""
)
ANIMAL_NAMES = names(  # suitable for both genders
    """Coco Pip Sunny Fluffy Spot Bobo Nutty Fuzzy Pepper Ginger Lucky Momo Bubble Button Biscuit Tiny Patch Dot
    Honey Muffin Zippy Kiki Pebble Cookie Berry Rusty Toffee Peanut Sparky Misty Jojo Pippin Bibi Cloudy Pumpkin"""
)

TRAITS = words(
    "kind, happy, curious, friendly, cheerful, playful, clever, gentle, funny, silly, brave, sweet, lively, smart"
)
WAYS_TO_PLAY = words(
    "play outside, sing songs, draw pictures, run and jump, dance, look at the stars, climb trees, pick flowers, "
    "ride {his} bike, build tall towers, watch the birds, play in the park, play with {his} toys, tell funny stories, "
    "play hide and seek, swing on the swings, splash in puddles, help {his} mom, read books, play with {his} friends, "
    "look for bugs in the grass, make things out of paper, go for long walks, play ball, feed the ducks, paint"
)
HOMES = words(
    "a small town, a little house by the sea, a big city, a little house near a forest, a quiet town, a pretty house "
    "with a red door, a house on a hill, a small house with a big garden, a busy town, a little town by a river, "
    "a tall house on a quiet street, a sunny town"
)

ALWAYS_SHE = names("hen cow")
# `joy` is what animals do when they are happy, `loves` what they like to do.
FOREST_ANIMALS = columns(
    "kind; joy; loves",
    """
    bunny; hopped up and down; [hop in the tall grass|dig holes in the soft ground]
    fox; jumped up and down; [run through the trees|play in the leaves]
    bear; danced around; [climb trees|roll down the hill]
    squirrel; flicked {his} long tail; [climb trees|look for nuts]
    mouse; ran around in circles; [look for seeds|play hide and seek in the grass]
    deer; jumped high in the air; [run through the trees|nibble green leaves]
    bird; flapped {his} wings; [sing in the morning|fly over the trees]
    hedgehog; rolled around in the grass; [sleep under the leaves|look for berries]
    raccoon; danced around; [look for shiny things|wash {his} paws in the stream]
    frog; hopped up and down; [jump over stones|sit by the stream]
    owl; flapped {his} wings; [look at the moon|sit in the old tree]
    turtle; danced a slow dance; [walk by the stream|lie in the warm sun]
    beaver; slapped {his} tail on the ground; [swim in the stream|carry sticks]
    mole; danced around; [dig long tunnels|dig in the soft ground]
    """,
)
FARM_ANIMALS = columns(
    "kind; joy; loves",
    """
    dog; wagged {his} tail; [run in the field|chase balls]
    cat; purred; [sleep in the sun|chase leaves]
    duck; flapped {his} wings; [swim in the pond|splash in the water]
    pig; rolled around in the mud; [roll in the mud|eat corn]
    cow; mooed a happy moo; [eat green grass|rest under a tree]
    horse; ran around the field; [run with the wind|run in the field]
    hen; flapped {his} wings; [look for seeds|scratch in the dirt]
    goat; jumped up and down; [jump on the rocks|climb on everything]
    lamb; jumped up and down; [jump in the field|eat soft grass]
    puppy; wagged {his} tail; [chase butterflies|play with a stick]
    kitten; purred; [play with string|chase {his} own tail]
    donkey; kicked up {his} legs; [walk up the hill|eat hay]
    goose; flapped {his} wings; [walk around the pond|swim in the pond]
    chick; flapped {his} little wings; [run after bugs|follow the big hens]
    """,
)
JUNGLE_ANIMALS = columns(
    "kind; joy; loves",
    """
    monkey; jumped up and down; [swing from tree to tree|eat sweet fruit]
    elephant; waved {his} long nose in the air; [splash in the river|play in the mud]
    lion; jumped up and down; [lie in the warm sun|run in the tall grass]
    tiger; jumped up and down; [run in the tall grass|climb on rocks]
    zebra; kicked up {his} legs; [run with the wind|eat green grass]
    giraffe; danced around; [eat leaves from the tall trees|look at the clouds]
    parrot; flapped {his} wings; [fly over the river|sing loud songs]
    hippo; danced around; [swim in the river|lie in the mud]
    snake; danced in the grass; [lie on a warm rock|climb trees]
    """,
)
SEA_ANIMALS = columns(
    "kind; joy; loves",
    """
    fish; swam around in circles; [swim fast|blow bubbles]
    crab; danced on the sand; [dig in the sand|walk on the beach]
    octopus; waved all {his} arms; [hide in the rocks|look for pretty shells]
    seal; clapped and clapped; [play in the waves|lie on the warm rocks]
    dolphin; jumped out of the water; [jump over the waves|swim fast]
    turtle; swam around in circles; [swim in the deep water|lie on the warm sand]
    whale; splashed {his} big tail; [sing long songs|swim in the deep water]
    starfish; waved {his} arms; [look at the fish|lie on the sand]
    """,
)
