"""Plots at home: being ill, not being able to sleep, a messy room."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, columns, records

ILLNESSES = columns(
    "name; sign; plan; cure",
    """
    a cold; {He} sneezed again and again.; play in the snow; drank hot tea with honey
    a fever; {His} face was red and hot.; go to the park; slept a lot and drank water
    a sore throat; {He} could not even sing.; eat ice cream at the park; drank warm milk with honey
    a tummy ache; {His} tummy made funny noises.; go to a party; drank tea and ate dry bread
    a cough; {He} coughed all morning.; play ball outside; took a spoon of sweet medicine
    red spots; {He} had red spots on {his} arms and on {his} nose.; go to school; counted {his} spots
    an ear ache; {His} ear hurt very much.; swim in the pool; wore a warm hat over both ears
    """,
)
VISITS = columns(
    "name; fun",
    """
    a book with funny pictures; They looked at the pictures and laughed.
    a bag of oranges; They ate the oranges and told jokes.
    a card from all {his} friends; There was a big heart on the card.
    a puzzle; They did the puzzle on the bed.
    a little flower in a pot; They put it next to the bed.
    two puppets; They made the puppets dance on the blanket.
    a balloon; They pushed the balloon back and forth across the bed.
    """,
)


def ill(t: Teller) -> str:
    people.child(t)
    people.family(t)
    people.another_child(t)
    t.cast_from(illness=ILLNESSES, visit=VISITS)
    return """
    {opening}
    {loves}
    ? {He} was never tired.

    {one_day} wanted to {illness.plan}, but {he} did not feel well. {illness.sign}
    | {one_day} woke up and felt bad. {illness.sign} "But I want to {illness.plan}!" {he} said.
    {Helper} [put a hand on {his} head|looked at {him}]. "You have {illness}," {helper.he} said. "You must stay in bed."
    | {Helper} called the doctor. The doctor looked at {hero} and said, "You have {illness}. You must rest."
    ? "[It is no fun to be sick|I do not want to stay in bed]," said {hero}.
    | {sad}

    So {hero} stayed in bed and {illness.cure}. [It was a long day.|The day was very long.|]
    | {Hero} lay in bed and {illness.cure}. Outside, {he} could hear the other children play.
    ? {Helper} sat by the bed and read {him} a story.
    | {Helper} sang a soft song for {him}.
    Then there was a knock at the door. It was {friend.a}! {Friend} had {visit} for {him}.
    | In the afternoon, {friend.a} came to visit. "I have something for you," said {friend}. It was {visit}.
    {visit.fun}
    | {visit.fun} {Hero} forgot that {he} was sick.
    ? "[Get well soon|I hope you feel better soon], {hero.call}," said {friend}.

    [After a few days|The next morning|Soon], {hero} felt [much |]better.
    ? {happy}
    "Thank you for taking care of me," {he} said to {helper}.
    | "Now we can {illness.plan}!" said {friend}, and they did.
    | {He} ran outside to play with {friend}.
    ? {Hero} learned that a good friend can make a bad day better.
    | When {friend} was sick one day, {hero} went to visit {friend.him} too.
    """


SLEEPLESS = records(
    """
    name: the wind outside was too loud
    hears: Whooo, whooo, went the wind.
    kind: The wind is only singing to the trees so that they can sleep
    dream: flew over the trees with the wind

    name: {he} was thinking about {his} birthday
    hears: It was the next day, and {he} was too excited.
    kind: When you sleep, tomorrow comes faster
    dream: ate a cake that was as big as a house

    name: the room was too dark
    hears: There was a shadow in the corner.
    kind: The dark is like a big blanket for the whole world
    dream: rode on a star across the sky

    name: {he} was not tired at all
    hears: {He} turned to the left. {He} turned to the right.
    kind: Close your eyes and count the sheep with me
    dream: jumped over a fence with the sheep

    name: the moon was too bright
    hears: It shone right on {his} nose.
    kind: The moon only wants to see if all the children are in bed
    dream: sat on the moon and had tea

    name: {he} could not find {his} teddy bear
    hears: {He} always slept with it in {his} arms.
    kind: Look, your teddy bear is under the bed, and it is sleeping already
    dream: danced with {his} teddy bear in a big castle

    name: {his} feet were cold
    hears: {He} tried to warm them with {his} hands.
    kind: Here are some warm socks for your little feet
    dream: walked on a warm beach by the sea

    name: {he} heard a little noise in the wall
    hears: Scratch, scratch, it went.
    kind: It is only a little mouse that makes a bed for its babies
    dream: had a party with ten little mice
    """
)


def bedtime(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(night=SLEEPLESS)
    return """
    {opening}
    ? {loves}
    All day long, {he} ran and played. But {he} did not like to go to bed.
    | {He} had a small bed with a [blue|yellow|soft] blanket.
    | {He} slept in a little room with a round window.

    One night, {who} could not sleep because {night}. {night.hears}
    | It was late, and the stars were out. But {who} could not sleep because {night}. {night.hears}
    ? {He} tried to think of nice things, but it did not help.
    | {He} looked at the clock. Tick, tock, tick, tock.

    {Hero} got up and went to {helper}. "I cannot sleep," {he} said.
    | "[I cannot sleep|Please come]!" {he} called, and {helper} came into the room.
    ? {Helper} took {him} back to bed.
    | {Helper} [sat down on the bed|gave {him} a glass of warm milk].
    "{night.kind}," said {helper}[ in a soft voice|].
    ? {Hero} thought about it. That was a nice idea.
    Then {helper} [sang a song|told {him} a story] [about a little bear|about a little boat|about the stars|about a sleepy cat].
    | {Helper} stayed with {him} and held {his} hand.
    [Soon|After a while], {hero} felt warm and sleepy. {He} closed {his} eyes.
    | {Hero} wanted to say something, but {his} eyes were already closed.
    ? "Good night, {hero.call}," said {helper}, and gave {him} a kiss.

    That night, {hero} had a [wonderful|beautiful|funny] dream. {He} {night.dream}.
    In the morning, {he} told {helper} all about it.
    | When {he} woke up, the sun was shining. "I want to go to bed again!" {he} said, and {helper} laughed.
    | After that, {hero} was not sad anymore when it was time for bed.
    """


MESSES = columns(
    "name; want; trouble",
    """
    blocks; play with {his} red ball; {He} stepped on a block and hurt {his} foot.
    cars; go to the park; {He} slipped on a little car and fell down. Bump!
    books; find {his} drawing book; {He} looked and looked, but there were books everywhere.
    socks; put on {his} favorite socks; {He} found one blue sock and one green sock, but no two of the same color.
    dolls and bears; go to bed; There was no room on the bed for {him}!
    crayons; wear {his} new white shirt; The shirt was on the floor, and there was purple crayon all over it.
    puzzle pieces; finish {his} puzzle; The last piece was gone. It was somewhere under all the things.
    papers; show {his} best picture to {helper}; But {he} could not find it under all the papers.
    """,
)


def messy_room(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(mess=MESSES)
    return """
    {opening}
    {loves} But {he} did not like to clean {his} room. There were {mess} all over the floor.
    | {His} room was always full of {mess}. They were on the bed, on the chair and on the floor.

    {one_day} had a very messy room. "Please clean it up," said {helper}. "[No, I want to play|Not now|Later]," said {hero}.
    | {one_day} heard {helper} call. "{hero.call}, your room is a mess! Please put your things away." But {he} did not.
    ? "A clean room is a happy room," said {helper}. {Hero} did not listen.
    Then {hero} wanted to {mess.want}. {mess.trouble}
    | A little later, {he} wanted to {mess.want}. {mess.trouble}
    ? {sad}

    {asks} "[My room is too messy|It is because of the mess]," said {hero}. "[I am sorry|I do not know how to start]."
    "[I will help you|Let us make it a game]," said {helper}. "We can sing a song while we clean." They sang and worked, \
    and before the song was over, the floor was clean.
    | "Let us make it a game," said {helper}. "Let us see who is faster!" They ran and laughed, and soon the room was clean.
    | "I will help you," said {helper}. "You pick up the big things, and I pick up the small things." They worked together, \
    and soon the room was clean.
    ? They even found [an old cookie|three coins|a lost toy] under the bed.

    Now {hero} could {mess.want}. {happy}
    | "[Look how big my room is|Now I can see the floor]!" said {hero}. {Helper} was proud of {him}.
    From that day on, {hero} put {his} {mess} away every night.
    | After that, {hero} cleaned {his} room every evening before bed.
    """
