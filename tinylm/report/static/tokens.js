// A story with each token shaded by its probability; a tooltip shows the alternatives.

const FULL_SHADE = 3; // -log10 of the probability from which on the shade is full: 0.001

function shadeOf(probability) {
  return probability === null ? 0 : Math.min(1, -Math.log10(Math.max(probability, 1e-12)) / FULL_SHADE);
}

function percent(probability) {
  if (probability === null) return "–";
  const value = probability * 100;
  if (value > 99.9 && value < 100) return "> 99.9%";
  return value < 0.01 ? "< 0.01%" : `${value.toLocaleString("en-US", { maximumSignificantDigits: 3 })}%`;
}

// Make the white space of a token visible.
function visible(text) {
  return text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";
}

function showTokens(parent, ofPrompts) {
  const bar = element("div", { class: "bar" }, parent);
  prompts(bar, "token-prompt", ofPrompts.map(({ prompt }) => prompt), (n) => choose(n));
  showLegend(bar);
  const about = element("p", { class: "note" }, parent);
  const frame = element("div", { class: "tokens" }, parent);
  const story = element("div", { class: "story", role: "group", "aria-label": "Tokens; use the arrow keys to move between them" }, frame);
  const tip = element("div", { class: "tip", id: "token-tip", role: "tooltip", hidden: "" }, frame);
  let tokens = [];

  function choose(n) {
    ({ tokens } = ofPrompts[n]);
    const scored = tokens.filter(({ probability }) => probability !== null);
    const loss = scored.reduce((sum, { probability }) => sum - Math.log(Math.max(probability, 1e-12)), 0) / scored.length;
    about.textContent = `Step ${show(ofPrompts[n].step)}, ${tokens.length} tokens, ${show(loss)} nats per token.`;
    tip.hidden = true;
    story.replaceChildren();
    tokens.forEach(({ text, probability }, at) => {
      const span = element("span", { class: "token", tabindex: at ? -1 : 0, "data-n": at }, story, text);
      span.style.setProperty("--shade", shadeOf(probability).toFixed(3));
    });
  }

  function open(span) {
    const token = tokens[span.dataset.n];
    close();
    span.classList.add("open");
    span.setAttribute("aria-describedby", tip.id);
    tip.replaceChildren();
    const head = element("p", { class: "head" }, tip);
    element("b", {}, head, visible(token.text));
    element("span", {}, head, percent(token.probability));
    for (const [text, probability] of token.alternatives) {
      const row = element("p", { class: text === token.text ? "row taken" : "row" }, tip);
      element("span", {}, row, visible(text));
      element("span", { class: "share" }, row).style.setProperty("--share", probability);
      element("span", {}, row, percent(probability));
    }
    tip.hidden = false;
    placeTip(span);
  }

  // Place the tooltip below the token, or above it at the bottom of the window; never beyond the sides.
  function placeTip(span) {
    const around = frame.getBoundingClientRect(), line = span.getClientRects()[0] ?? span.getBoundingClientRect();
    const left = Math.min(Math.max(0, line.left - around.left), around.width - tip.offsetWidth);
    const below = line.bottom - around.top + 6, above = line.top - around.top - tip.offsetHeight - 6;
    const fits = line.bottom + tip.offsetHeight + 12 < window.innerHeight || line.top < tip.offsetHeight + 12;
    tip.style.setProperty("left", `${Math.max(0, left)}px`);
    tip.style.setProperty("top", `${fits ? below : above}px`);
  }

  function close() {
    tip.hidden = true;
    for (const span of story.querySelectorAll(".open")) {
      span.classList.remove("open");
      span.removeAttribute("aria-describedby");
    }
  }

  function move(event) {
    if (event.key === "Escape") close();
    const now = event.target.closest(".token"), all = story.children, n = Number(now?.dataset.n);
    const goals = {
      ArrowLeft: () => all[n - 1],
      ArrowRight: () => all[n + 1],
      ArrowUp: () => inNextLine(now, "previousElementSibling"),
      ArrowDown: () => inNextLine(now, "nextElementSibling"),
      Home: () => all[0],
      End: () => all[all.length - 1],
    };
    if (!now || !(event.key in goals)) return;
    event.preventDefault();
    goals[event.key]()?.focus();
  }

  story.addEventListener("pointerover", (event) => event.target.closest(".token") && open(event.target));
  story.addEventListener("focusin", (event) => {
    for (const span of story.querySelectorAll('[tabindex="0"]')) span.tabIndex = -1;
    event.target.tabIndex = 0; // the tab key returns to it
    open(event.target);
  });
  story.addEventListener("focusout", close);
  story.addEventListener("keydown", move);
  story.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "touch") return; // a finger leaves immediately
    close();
    if (story.contains(document.activeElement)) open(document.activeElement);
  });
  // Some browsers leave the focus on a token when something else is tapped.
  document.addEventListener("pointerdown", (event) => story.contains(event.target) || close());
  choose(0);
}

// The token of the next line in this direction that is nearest to `span`, or none in the last line.
function inNextLine(span, direction) {
  const start = span.getClientRects()[0], middle = start.left + start.width / 2;
  let line = null, nearest = null, least = Infinity;
  for (let other = span[direction]; other; other = other[direction]) {
    const box = other.getClientRects()[0];
    if (!box || Math.abs(box.top - start.top) < 2) continue;
    line ??= box.top;
    if (Math.abs(box.top - line) >= 2) break;
    const distance = Math.abs(box.left + box.width / 2 - middle);
    if (distance < least) [nearest, least] = [other, distance];
  }
  return nearest;
}

function showLegend(parent) {
  const legend = element("p", { class: "shades" }, parent);
  element("span", {}, legend, "Probability");
  for (const probability of [1, 0.5, 0.1, 0.01, 0.001]) {
    const swatch = element("span", { class: "token" }, legend, `${probability * 100}%`);
    swatch.style.setProperty("--shade", shadeOf(probability).toFixed(3));
  }
}
