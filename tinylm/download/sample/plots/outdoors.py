"""Plots outdoors: bad weather, and a warning that is not heeded."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, names, records

SPOILED = records(
    """
    name: have a picnic in the park
    ready: packed a basket with bread, apples and juice
    weather: it began to rain
    instead: put a blanket on the floor of the living room
    fun: They sat on the blanket and ate the bread and the apples. They even heard the birds, because {helper} sang like one.

    name: go to the beach
    ready: put {his} bucket and {his} towel into a bag
    weather: dark clouds came, and it rained and rained
    instead: filled the bath tub with warm water
    fun: {Hero} put on {his} swimsuit, and all {his} toy boats went for a swim. The waves went over the edge!

    name: fly a kite
    ready: ran outside with {his} kite
    weather: there was no wind at all
    instead: took big bottles of soap water outside and blew bubbles
    fun: The bubbles shone red and blue and green in the sun. They did not need any wind.

    name: go for a bike ride
    ready: put on {his} helmet
    weather: it began to snow, and soon the street was white
    instead: pulled the old sled out of the garage
    fun: They went down the hill so fast that the snow flew into their faces.

    name: sleep in a tent in the garden
    ready: put a pillow and a light into the tent
    weather: a storm came, and the tent fell down
    instead: made a tent in the living room out of two chairs and a big blanket
    fun: They lay in the tent with the light and listened to the rain on the roof.

    name: go to the zoo
    ready: stood at the door with {his} hat on
    weather: big drops fell from the sky
    instead: took all the toy animals out of the box
    fun: They made a zoo with blocks. The lion lived under the table, and the monkeys lived on the lamp.

    name: play ball outside
    ready: took {his} ball and ran to the door
    weather: it rained so hard that there was a lake in front of the house
    instead: put on big boots and went out to jump in the puddles
    fun: Splash, splash, splash! They were wet and dirty, and they laughed and laughed.

    name: work in the garden
    ready: took {his} little shovel
    weather: there was thunder, and the rain came down
    instead: planted beans in little cups by the window
    fun: They gave each bean a name and a drop of water.
    """
)


def bad_weather(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(plan=SPOILED)
    return """
    {opening}
    ? {loves}
    {He} loved sunny days most of all.
    | {He} loved to do things with {helper}.

    {one_day} wanted to {plan} with {helper}. {He} {plan.ready}. [But then|Just then], {plan.weather}.
    | {one_day} got up early. Today, {he} and {helper} wanted to {plan}! {Hero} {plan.ready}. But then {plan.weather}.
    "Oh no!" said {hero}. "Now we cannot {plan}." {sad}
    | {Hero} looked [at the sky|out of the window]. "[This is not fair|Go away, bad weather]!" {he} said.
    ? {He} waited and waited, but it did not get better.
    | "Maybe tomorrow," said {helper}. But {hero} did not want to wait until tomorrow.

    Then {helper} had an idea. "[We can have fun in any weather|I know what we can do]," {helper.he} said. "Come with me!"
    | {Helper} thought for a moment. "[Who needs good weather|Do you want to see a trick]?" {helper.he} said. "Come and help me!"
    They {plan.instead}. {plan.fun}
    | {Hero} and {helper} {plan.instead}. {plan.fun}
    ? {happy}

    {Hero} learned that [you can have fun on any day|a bad day can turn into a good day].
    | "[I hope the weather is bad again tomorrow|I like bad weather now]," said {hero}, and {helper} laughed.
    ? {good_night}
    """


WARNINGS = records(
    """
    name: Do not go near the pond alone
    tempted: saw a big frog at the pond
    does: {He} went closer and closer to catch it.
    trouble: {His} foot slipped, and splash, {he} fell into the cold water
    saved: pulled {him} out and put a warm blanket around {him}
    rule: went to the pond only with {helper}

    name: Do not eat the cookies before dinner
    tempted: smelled the cookies in the jar
    does: {He} ate one, and two, and three, until the jar was empty.
    trouble: Then {his} tummy hurt so much that {he} had to lie down
    saved: gave {him} some tea and sat with {him}
    rule: waited until after dinner

    name: Do not climb on the shelf
    tempted: saw the big box of candy on the top of the shelf
    does: {He} put one foot on the shelf, and then the other.
    trouble: The shelf began to shake, and {he} fell down with all the books
    saved: picked {him} up and put a bandage on {his} knee
    rule: asked for help with high things

    name: Do not touch the bees' nest
    tempted: wanted to see what was inside the nest
    does: {He} took a long stick and poked it.
    trouble: Bzzz! The bees came out, and one of them stung {him} on the nose
    saved: took {him} inside and put some ice on {his} nose
    rule: left the bees alone

    name: Do not go out without your coat
    tempted: saw the pretty white snow
    does: {He} ran outside without {his} coat and {his} hat.
    trouble: Soon {he} was so cold that {his} teeth shook, and {he} could not feel {his} fingers
    saved: brought {him} inside and gave {him} hot milk
    rule: put on {his} coat when it was cold

    name: Do not touch the fence, the paint is wet
    tempted: wanted to know if it was really wet
    does: {He} touched it with one finger, and then with the whole hand.
    trouble: {He} fell against the fence, and now {he} was green from head to toe
    saved: put {him} in the bath tub and washed and washed
    rule: believed {helper} when {helper.he} said no

    name: Do not pull the cat's tail
    tempted: thought that the tail looked like a funny rope
    does: {He} took the tail and pulled.
    trouble: "Meow!" cried the cat, and it scratched {his} hand
    saved: washed {his} hand and showed {him} how to pet a cat
    rule: was gentle with the cat

    name: Do not walk on the ice
    tempted: saw how the ice on the lake was shining
    does: {He} took one step, and then one more.
    trouble: Crack! The ice broke, and {his} legs were in the cold water
    saved: brought a long stick and pulled {him} back to the land
    rule: stayed away from thin ice

    name: Do not run down the stairs
    tempted: heard the bell of the ice cream man
    does: {He} ran down the stairs as fast as {he} could.
    trouble: {He} missed a step and fell, bump, bump, bump, all the way down
    saved: held {him} until {he} stopped crying and looked at {his} arm
    rule: walked down the stairs, one step at a time
    """
)
ANIMAL_WARNINGS = records(
    """
    name: Do not go into the farmer's garden
    tempted: smelled the sweet carrots in the garden
    does: {He} dug a hole under the fence and ate one carrot after the other.
    trouble: The farmer's dog came running, and the hole was too small for {his} round tummy
    saved: pulled and pulled, and {he} came out just in time
    rule: ate only what {helper} gave {him}

    name: Do not eat the red mushrooms
    tempted: saw a pretty red mushroom
    does: {He} took a bite. It was sweet, so {he} took one more.
    trouble: Then everything began to turn around, and {his} tummy hurt
    saved: gave {him} a lot of water and sat with {him} all night
    rule: asked before {he} ate something new

    name: Do not wake the old wolf
    tempted: heard a loud snore from the cave
    does: {He} went in and tickled the wolf on the nose.
    trouble: The wolf woke up, and it was very angry
    saved: hid {him} under the leaves until the wolf was gone
    rule: stayed away from the cave

    name: Do not go too far from home
    tempted: saw a yellow butterfly
    does: {He} ran after it, over the hill and through the trees.
    trouble: When {he} stopped, {he} did not know the way home
    saved: found {him} under a bush and carried {him} home
    rule: stayed close to {helper}
    """
)
WANDERERS = names("bunny mouse squirrel hedgehog raccoon lamb goat pig")


def warning(t: Teller) -> str:
    if t.chance(0.7):
        people.child(t)
        t.cast_from(warning=WARNINGS)
    else:
        people.animal(t, ("forest", "farm"), kinds=WANDERERS)
        t.cast_from(warning=ANIMAL_WARNINGS)
    people.family(t)
    return """
    {opening}
    {loves}
    ? But {he} did not always listen.

    {one_day} wanted to go out and play. "{warning}," said {helper}. "I will be [good|careful]," said {hero}.
    | {one_day} heard {helper} call. "[Listen, {hero.call}|Be careful, {hero.call}]. {warning}!" "Yes, yes," said {hero}.
    But then {hero} {warning.tempted}. {He} forgot what {helper} had said.
    | But when {he} was alone, {he} {warning.tempted}. "[Just this once|Nobody will know]," {he} thought.
    ? {He} looked left and {he} looked right. Nobody was there.
    {warning.does} {warning.trouble}!

    "Help!" {hero} cried. {Helper} came running. {Helper.He} {warning.saved}.
    | {Hero} was scared and called for {helper}. {Helper} came at once. {Helper.He} {warning.saved}.
    ? {Helper} was not angry, only very worried.
    "I am sorry," said {hero}. "[I did not listen|I should have listened to you]."
    ? "I do not say no to be mean," said {helper}. "I say it because I love you."
    | "I am glad that you are [safe|okay]," said {helper}. "[Please listen next time|I only want to keep you safe]."
    From that day on, {hero} {warning.rule}.
    | {Hero} learned to listen. After that, {he} {warning.rule}.
    ? And {helper} was very proud of {him}.
    """
