"""Plots about feelings: fear, and two kinds of envy."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, columns, records, words

SHY = words("shy, quiet, gentle, kind, sweet, careful")
FEARS = records(
    """
    name: the dark
    when: it was time for {who} to go to bed, and the room was dark
    thought: What if there is a monster under my bed?
    advice: Let us take a light and look together
    does: {Hero} took the light and looked under the bed.
    finds: There was no monster. There was only a lost sock!
    after: {hero} slept in the dark like a big {hero.kind}

    name: thunder
    when: {who} was at home when a big storm came. "Boom!" went the thunder
    thought: It is so loud! It is coming to get me!
    advice: The thunder is only the clouds playing the drum. We can play too
    does: {Hero} took a pot and a spoon. Every time the sky went boom, {he} went boom too.
    finds: It was so funny that {he} forgot to be afraid.
    after: {hero} liked stormy days, because {he} could play the drum

    name: the big slide
    when: {who} stood in front of the big slide in the park
    thought: It is too high for me!
    advice: Take one step at a time. I will wait for you at the bottom
    does: {Hero} climbed up, one step, two steps, three steps. Then {he} sat down and let go.
    finds: Whoosh! It felt like flying.
    after: {hero} went down the big slide ten times every day

    name: the neighbor's dog
    when: {who} walked down the street, and the big dog next door ran to the fence and barked
    thought: It has such big teeth!
    advice: Hold out your hand and let it smell you
    does: {Hero} held out {his} hand. It was shaking a little.
    finds: The dog smelled the hand and licked it. It only wanted to play!
    after: {hero} threw a stick for the dog every day

    name: deep water
    when: {who} went to the pool for the first time
    thought: What if I go under the water?
    advice: Hold my hand and kick with your feet
    does: {Hero} held on tight and kicked and kicked.
    finds: The water carried {him}! It was warm and soft.
    after: {hero} was the first one to jump into the pool

    name: the doctor
    when: {who} had to go to the doctor
    thought: What if it hurts?
    advice: You can hold my hand and count to three
    does: {Hero} held the hand very tight. "One, two, three," {he} counted.
    finds: And it was already over! It was just a little pinch.
    after: {hero} played doctor with all {his} toys

    name: spiders
    when: {who} saw a spider over {his} bed
    thought: It wants to bite me!
    advice: Look, it is so much smaller than you. It is making a house
    does: {Hero} came closer and looked. The spider ran up and down on its thin legs.
    finds: The web was as pretty as a star. The spider did not want to hurt anyone.
    after: {hero} said good morning to the spider every day

    name: the first day of school
    when: {who} had to go to school for the first time
    thought: What if nobody likes me?
    advice: Just smile and say your name
    does: {Hero} sat down next to a girl with red shoes. {He} smiled and said {his} name.
    finds: The girl smiled back. "Do you want to draw with me?" she asked.
    after: {hero} ran to school every morning

    name: the old bridge
    when: {who} had to walk over the old bridge
    thought: What if it breaks?
    advice: Look at me and not at the water
    does: {Hero} took one small step and then one more.
    finds: The bridge was strong and did not move at all.
    after: {hero} liked to stand on the bridge and look at the fish

    name: the attic
    when: {who} heard a noise from the attic
    thought: There must be a ghost up there!
    advice: Ghosts are not real. Let us go up and see
    does: {Hero} went up the stairs and opened the door very slowly.
    finds: It was no ghost. It was the cat, and it had three tiny kittens!
    after: {hero} went up to the attic every day to see the kittens
    """
)


def afraid(t: Teller) -> str:
    people.child(t, SHY)
    people.family(t)
    t.cast_from(fear=FEARS)
    return """
    {opening}
    There was only one problem. {Hero} was afraid of {fear}.
    | {loves} But {he} was [very |]afraid of {fear}.
    ? {He} did not tell anyone about it.

    One day, {fear.when}. {Hero} [stood very still|wanted to run away|began to shake].
    "I am scared," {he} [said in a small voice|said and held on to {helper}]. "{fear.thought}"
    | "{fear.thought}" {he} thought, and {he} began to cry.
    {Helper} [took {his} hand|sat down next to {him}|gave {him} a hug]. "It is okay to be [afraid|scared]," {helper.he} said. \
    "{fear.advice}."
    | "Everyone is afraid sometimes," said {helper}. "{fear.advice}."
    | "When I was little, I was afraid of {fear} too," said {helper}. "{fear.advice}."
    ? {Hero} was not sure. But {he} wanted to be brave.
    | {Hero} took a deep breath. "I will try," {he} said.

    {fear.does} {fear.finds}
    ? "It is not so bad!" [said|laughed] {hero}.
    "[I knew you could do it|You were very brave]!" said {helper}.
    | {happy} {Helper} was [so |very ]proud of {him}.
    From that day on, {fear.after}.
    | After that, {fear.after}.
    ? {Hero} learned that being brave means to try even when you are scared.
    | And {he} was not afraid of {fear} anymore.
    """


ENVIED = columns(
    "name; old; fun",
    """
    a new bike with a bell; {His} own bike was old and had no bell.; rode up and down the street, one on the new bike and one on the old bike
    a big red balloon; {Hero} had no balloon at all.; let the balloon fly up on a long string and pulled it down again
    a shiny toy train; {His} own train was made of wood and had only three wheels.; made one long train out of the new one and the old one
    a doll with golden hair; {His} own doll had short hair and a funny hat.; had a tea party with both dolls
    new boots with red stars; {His} own boots were brown and plain.; jumped in all the puddles with their boots
    a white kite with a long tail; {His} own kite was small and had a patch.; let both kites dance in the sky
    a big box of paints; {Hero} had only three old crayons.; painted one big picture with the paints and the crayons
    a toy car that could drive alone; {His} own car had to be pushed.; made a race track for both cars
    a soft toy lion; {His} own toy lion was old and had only one eye.; put the two lions side by side and played zoo
    """,
)


def envy(t: Teller) -> str:
    people.child(t)
    people.another_child(t)
    people.family(t)
    t.cast_from(prize=ENVIED)
    return """
    {opening}
    {He} had a [best|good] friend named {friend}. They played together every day.
    | {Hero} and {friend} were [best|good] friends. They [did everything together|liked to play together].

    {one_day} went to play with {friend.a}. {Friend} had {prize}! {prize.old}
    | {one_day} saw that {friend.a} had {prize}. {prize.old}
    ? "Look what I got!" said {friend}. [{Friend.He} was so proud.|]
    | "Do you like it?" asked {friend} with a big smile.
    {Hero} felt jealous. "[I do not like it|It is ugly|I do not want to look at it]," {he} said, and {he} went home.
    | {Hero} wanted to have it too. "It is not nice at all," {he} said, and {he} ran away.
    ? {Friend} was very sad. {Friend.He} did not know what was wrong.

    At home, {helper} asked, "Why are you back so soon?" {Hero} told {helper.him} everything.
    | {Hero} sat down on the steps of the house. {Helper} came, and {hero} told {helper.him} all about it.
    "[Words can hurt|A friend is worth more than any toy|We all want what others have sometimes]," said {helper}.
    ? {Hero} thought about {friend} and how sad {friend.he} must be.
    {Hero} went back to {friend}. "I am sorry," {he} said. "[I was jealous|I said mean things]. I really like it."
    {Friend} smiled. "[I am not angry|It is okay]," {friend.he} said. "[I wanted to share it with you|Let us play with it together]!"
    They {prize.fun}. [They laughed all afternoon.|It was so much fun.]
    ? {happy}
    {Hero} learned to be happy when something good happens to a friend.
    | From then on, {hero} was not jealous anymore. {He} knew that a good friend is the best thing of all.
    ? {ever_after}
    """


BABY_JOBS = columns(
    "name; did; alone",
    """
    hold the bottle; held the bottle, and the baby drank all the milk; sat in {his} room and looked at the wall
    find a soft toy; found a soft toy and shook it; hid under the table with {his} teddy bear
    sing a song; sang {his} favorite song; sat on the stairs and did not want to play
    make a funny face; made the funniest face {he} could; drew a picture of {his} family, but left the baby out
    rock the little bed; rocked the little bed from side to side; went into the garden and kicked a stone
    clap your hands; clapped {his} hands and danced in front of the baby; lay on the bed with {his} face in the pillow
    """,
)


def new_baby(t: Teller) -> str:
    people.child(t)
    people.family(t, members=people.PARENTS)
    t.cast_from(job=BABY_JOBS)
    t.cast(
        "baby", t.pick(({"name": "sister", "he": "she", "his": "her"}, {"name": "brother", "he": "he", "his": "his"}))
    )
    return """
    {opening}
    ? {loves}
    Every day, {he} played with {helper}.
    | {He} lived with {his} mom and {his} dad, and they were very happy.

    {one_day} got a baby {baby}. Everyone came to see the baby. "What a sweet baby!" they said.
    | {one_day} had a new baby {baby} at home. The baby cried a lot.
    {Helper} was too [tired|busy] to play with {hero}.
    | {Helper} fed the baby and washed the baby. There was no time for {hero}.
    {Hero} felt jealous. {He} {job.alone}.
    | {Hero} {job.alone}.
    ? "Why does everyone love the baby and not me?" {he} thought.

    {asks} "You only love the baby now," said {hero}.
    | "You do not love me anymore," {hero} said to {helper}.
    {Helper} took {him} in {helper.his} arms. "I love you [just as much as before|with all my heart]," {helper.he} said. \
    "But the baby is so little. I need [your help|a big helper]."
    ? {Helper} smiled. "When you were little, I carried you all night long," {helper.he} said. {Hero} did not know that.
    "What can I do?" asked {hero}. "You can {job}," said {helper}.
    | {Hero} dried {his} eyes. "You can {job}," said {helper}. "Will you do that for me?" {Hero} nodded.
    So {hero} {job.did}. The baby [stopped crying|looked at {him} with big eyes]. Then {baby.he} smiled!
    | {Hero} went to the baby and {job.did}. And what did the baby do? {baby.He} smiled for the very first time!
    ? "[Look, {baby.he} likes you|That smile is for you]!" said {helper}.
    ? {happy}
    ? "[I am your big {hero.sibling}|I will teach you everything], little one," {hero} said to the baby.

    From that day on, {hero} helped {helper} [every day|with the baby].
    | After that, {hero} was not jealous anymore. {He} was proud to be a big {hero.sibling}.
    | {Hero} learned that there is enough love for everyone.
    ? {ever_after}
    """
