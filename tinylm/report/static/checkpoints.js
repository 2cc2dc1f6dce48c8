// The same beginning at every checkpoint, on a slider from the first to the last.

function showCheckpoints(place, ofPrompts) {
  const bar = element("div", { class: "bar" }, place);
  prompts(bar, "checkpoint-prompt", ofPrompts.map(({ prompt }) => prompt), (n) => choose(n));
  const label = element("label", { class: "slide" }, bar);
  const said = element("output", { for: "checkpoint" }, label);
  const slider = element("input", { type: "range", id: "checkpoint", min: 0, step: 1, value: 0 }, label);
  const ends = element("span", { class: "ends", "aria-hidden": true }, label);
  const first = element("span", {}, ends), last = element("span", {}, ends);
  // All stories lie on each other and one is visible, so that the page does not jump.
  const pile = element("div", { class: "pile", "aria-live": "polite" }, place);
  let stories = [];

  function choose(n) {
    const { prompt } = ofPrompts[n];
    stories = ofPrompts[n].stories;
    slider.max = stories.length - 1;
    first.textContent = `step ${show(stories[0].step)}`;
    last.textContent = `step ${show(stories.at(-1).step)}`;
    pile.replaceChildren();
    for (const story of stories) {
      const text = element("blockquote", { class: "story" }, pile);
      const begun = story.text.startsWith(prompt) ? prompt : "";
      element("b", {}, text, begun);
      text.append(story.text.slice(begun.length));
      if (!story.ended) element("i", { title: "at the longest length allowed" }, text, " […]");
    }
    turn();
  }

  function turn() {
    const { step, loss } = stories[slider.value];
    [...pile.children].forEach((text, n) => text.classList.toggle("shown", n === Number(slider.value)));
    said.replaceChildren(`Step ${show(step)}`);
    if (loss !== undefined && loss !== null) element("small", {}, said, `validation loss ${show(loss)}`);
    slider.setAttribute("aria-valuetext", said.textContent);
  }

  slider.addEventListener("input", turn);
  choose(0);
}
