"""Plots about time: waiting for something, and a seed that grows slowly."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, records

AWAITED = records(
    """
    name: the first snow
    asks: Will it snow today
    looks: looked out of the window. There was only rain and wind
    pastime: made a long red scarf for the snowman
    comes: everything was white and quiet. It was snowing!
    joy: {Hero} ran outside and made a snowman with a red scarf.

    name: the eggs of the little bird in the tree
    asks: Are the baby birds here today
    looks: looked up at the nest. There were still three blue eggs in it
    pastime: drew the nest, every day a little better
    comes: there was a soft "peep, peep" in the tree. Three tiny birds looked out of the nest!
    joy: {Hero} drew them too, with their mouths wide open.

    name: a letter from {his} friend
    asks: Is there a letter for me
    looks: looked into the mail box. It was empty
    pastime: wrote a letter too and put a pretty leaf in it
    comes: the mailman rang the bell. "A letter for you!" he said.
    joy: {Hero} read it ten times and put it under {his} pillow.

    name: {his} loose tooth to fall out
    asks: Is it coming out now
    looks: looked in the mirror. The tooth was still there
    pastime: made a little box for the tooth
    comes: {hero} bit into an apple, and there was the tooth!
    joy: {Hero} put it in the little box and smiled with a hole in {his} smile.

    name: the berries in the garden to get ripe
    asks: Can I eat them now
    looks: looked at the berries. They were still green
    pastime: watered them with a little can
    comes: the berries were big and red and sweet.
    joy: {Hero} ate one, and then one more, until {his} face was all red.

    name: {his} birthday
    asks: Is it today
    looks: looked at the calendar. There were still many days to go
    pastime: made paper hats for all the guests
    comes: {hero} woke up and smelled cake. It was {his} birthday!
    joy: All {his} friends came, and everyone had a paper hat.

    name: {his} aunt who lived far away
    asks: Is she coming today
    looks: looked down the road. Nobody was there
    pastime: painted a big picture that said hello
    comes: a blue car stopped in front of the house. It was {his} aunt!
    joy: {Hero} showed her the picture, and they laughed and danced.

    name: the butterfly to come out
    asks: Is it out now
    looks: looked at the leaf. The little brown bag was still closed
    pastime: planted some flowers for the butterfly
    comes: the bag was open, and a yellow butterfly sat on the leaf!
    joy: The butterfly flew around {his} head and then to the flowers.
    """
)


def waiting(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(wish=AWAITED)
    return """
    {opening}
    {loves} But {he} did not like to wait.
    | There was only one thing that {he} could not do. {He} could not wait.

    {one_day} was waiting for {wish}. {He} {wish.looks}. "Why does it take so long?" {he} [asked|said].
    | {one_day} got up early because {he} was waiting for {wish}. {He} {wish.looks}.
    "{wish.asks}?" {he} asked {helper}. "Not yet," said {helper}. "You have to be patient."
    | "{wish.asks}?" asked {hero}. "No, not today," said {helper}. "You have to wait a little."
    ? The next day, {he} asked again. "{wish.asks}?" "Not yet," said {helper} [and smiled|again].
    ? "I do not want to be patient!" said {hero}.

    {Helper} saw how hard it was. "Time goes faster when [your hands are busy|you do something nice]," {helper.he} said.
    | Then {helper} had an idea. "Do something nice while you wait," {helper.he} said. "Then the time goes faster."
    ? {Hero} thought about it. What could {he} do?
    So {hero} {wish.pastime}. [It was so much fun that {he} forgot the time.|{He} forgot that {he} was waiting.]
    | So {hero} {wish.pastime}. The days went by fast.

    And then, one morning, {wish.comes}
    | At last, {wish.comes}
    | Then, when {he} did not think of it at all, {wish.comes}
    ? "[At last|Come and see]!" {hero} [shouted|called].
    | {happy}
    {wish.joy}
    ? "[You see|Now you know]," said {helper}, "[good things take time|it was worth the wait]."
    | {Hero} learned that good things come to those who wait.
    ? {ever_after}
    """


PLANTS = records(
    """
    name: seed
    look: small brown
    grows: a tiny green leaf came out of the ground
    big: it was a sunflower, taller than {him}
    use: When the flower was old, {he} gave the seeds to the birds.

    name: seed
    look: flat white
    grows: a green plant crawled along the ground
    big: there was a pumpkin, as round as the moon
    use: They made soup, and there was enough for the whole street.

    name: bean
    look: big white
    grows: a green nose looked out of the ground
    big: the plant had climbed up the wall to {his} window
    use: {Hero} picked the beans and ate them for dinner.

    name: seed
    look: tiny
    grows: a thin green line stood in the bed
    big: there were long orange carrots in the ground
    use: {Hero} pulled them out and gave one to the rabbit next door.

    name: seed
    look: little yellow
    grows: two green leaves opened in the sun
    big: the plant was full of red tomatoes
    use: They ate the tomatoes with bread and salt.

    name: seed
    look: tiny round
    grows: there were three green leaves and a white flower
    big: there were sweet red strawberries under the leaves
    use: {Hero} and {helper} ate them with milk.

    name: potato
    look: round old
    grows: dark green leaves came up
    big: there were ten new potatoes under the ground
    use: They baked them in the fire and ate them with butter.
    """
)


def planting(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(plant=PLANTS)
    return """
    {opening}
    ? {loves}
    {He} liked to be in the garden with {helper}.
    | {Helper} had a big garden, and {hero} liked to be there.

    {one_day} got a {plant.look} {plant} from {helper}. "[What can I do with it|What is it for]?" {he} asked.
    | {one_day} found a {plant.look} {plant} on the table. "What is this?" {he} asked {helper}.
    "[Put it in the ground|Plant it] and give it water," said {helper}. "[Then wait and see|Something good will come]."
    {Hero} dug a little hole, put the {plant} in, and gave it some water.
    | So {hero} put the {plant} into the earth and gave it a big drink of water.
    ? Then {he} sat down and waited. {He} even sang a song for it.
    Nothing happened. "It does not work!" said {hero}. "[Good things need time|It is still asleep]," said {helper}.
    | The next morning, there was nothing but brown earth. {sad} "It needs time," said {helper}.
    | {Hero} ran to look every hour, but there was nothing. "It needs water and sun and [love|a friend who waits]," said {helper}.

    So {hero} came back every day with {his} little can. And one day, {plant.grows}!
    | Every day, {hero} gave it water. After a week, {plant.grows}!
    ? "[Look, look|It is growing|Come and see]!" {he} shouted.
    ? Once, there was a hot day, and the plant looked sad. {Hero} gave it a lot of water, and it stood up again.
    | Once, a snail wanted to eat it. {Hero} carried the snail to the other end of the garden.
    [In the summer|When the summer came|At the end of the summer], {plant.big}!

    {plant.use}
    ? {happy}
    ? "I made this," said {hero}. "[You and the sun and the rain|Yes, you did]," said {helper}[ with a smile|].
    | {Helper} was proud of {him}. "You took good care of it," {helper.he} said.
    {Hero} learned that [good things take time|big things start small].
    | And the next year, {hero} had a whole garden of {his} own.
    ? {ever_after}
    """
