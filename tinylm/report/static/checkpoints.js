// The story of the same prompt at every checkpoint, with a slider from the first checkpoint to the last.

function showCheckpoints(parent, ofPrompts) {
  const bar = element("div", { class: "bar" }, parent);
  prompts(bar, "checkpoint-prompt", ofPrompts.map(({ prompt }) => prompt), (n) => choose(n));
  const slide = element("div", { class: "slide" }, bar);
  const output = element("output", { for: "checkpoint", "aria-live": "off" }, slide); // the slider's own value is read out
  const slider = element("input", { type: "range", id: "checkpoint", min: 0, step: 1, value: 0, "aria-label": "Checkpoint" }, slide);
  const ends = element("span", { class: "ends", "aria-hidden": true }, slide);
  const first = element("span", {}, ends), last = element("span", {}, ends);
  // All stories are stacked and only one is visible, so that the page does not jump.
  const pile = element("div", { class: "pile", "aria-live": "polite" }, parent);
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
      const start = story.text.startsWith(prompt) ? prompt : "";
      element("b", {}, text, start);
      text.append(story.text.slice(start.length));
      if (!story.ended) element("i", { title: "cut off at the maximum length" }, text, " […]");
    }
    turn();
  }

  function turn() {
    const { step, loss } = stories[slider.value];
    [...pile.children].forEach((text, n) => text.classList.toggle("shown", n === Number(slider.value)));
    output.replaceChildren(`Step ${show(step)}`);
    if (loss !== undefined && loss !== null) element("small", {}, output, `validation loss ${show(loss)}`);
    slider.setAttribute("aria-valuetext", spoken(output));
  }

  slider.addEventListener("input", turn);
  choose(0);
}
