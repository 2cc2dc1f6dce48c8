// Shows a story while writer.js writes it: on the server, or in the browser itself in a page that was exported. Text of
// the model or the user is only ever set as textContent, so that it is never interpreted as HTML.

import { describe, write as writeStory } from "./writer.js";

const element = (id) => document.getElementById(id);
const [form, prompt, story, begun, text] = ["form", "prompt", "story", "begun", "text"].map(element);
const [write, stop, again, status, problem] = ["write", "stop", "again", "status", "problem"].map(element);
const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "seed"];

let running = null; // the AbortController of the story that is being generated
let lastSeed = null;

async function loadModel() {
  const model = await describe((progress) => (status.textContent = progress));
  status.textContent = "";
  element("model").textContent = `${model.model}, ${model.parameters.toLocaleString("en")} parameters`;
  const { defaults, limits } = model;
  element("temperature").max = Math.max(2, defaults.temperature);
  element("temperature").value = defaults.temperature;
  element("top_p").value = defaults.top_p ?? 1;
  element("top_k").value = defaults.top_k ?? "";
  element("top_k").max = limits.top_k;
  element("max_tokens").value = defaults.max_tokens;
  element("max_tokens").max = limits.max_tokens;
  element("max_tokens-hint").textContent = `In tokens, including the prompt; at most ${limits.max_tokens}.`;
  element("seed").max = limits.seed;
  showValues();
  write.disabled = false;
}

function showValues() {
  element("temperature-value").textContent = Number(element("temperature").value).toFixed(2);
  const top_p = Number(element("top_p").value);
  element("top_p-value").textContent = top_p === 1 ? "all" : top_p.toFixed(2);
}

function readRequest() {
  const request = { prompt: prompt.value };
  for (const name of NUMBERS) {
    const input = element(name);
    if (input.validity.badInput) throw new Error(`${name}: expected a number`);
    request[name] = input.value === "" ? null : Number(input.value);
  }
  if (request.top_p === 1) request.top_p = null; // the end of the slider means no limit
  return request;
}

const show = {
  waiting({ before }) {
    status.textContent = before === 1 ? "Waiting: one story is ahead of yours." : `Waiting: ${before} stories are ahead of yours.`;
  },
  begun({ prompt, seed }) {
    lastSeed = seed;
    begun.textContent = prompt;
    text.textContent = "";
    story.hidden = false;
    status.textContent = `Writing with seed ${seed} …`;
  },
  text({ text: piece }) {
    const page = document.documentElement;
    const following = page.scrollTop + page.clientHeight > page.scrollHeight - 2; // unless the reader scrolled up
    text.textContent += piece;
    if (following) page.scrollTop = page.scrollHeight;
  },
  done({ ended, tokens, tokens_per_second }) {
    const how = ended ? "Reached end-of-text" : "Cut off at the maximum length";
    const rate = Math.round(tokens_per_second).toLocaleString("en");
    status.textContent = `${how} after ${tokens} tokens · ${rate} tokens/s · seed ${lastSeed}`;
  },
};

function setWriting(writing) {
  const [on, off] = writing ? [stop, write] : [write, stop];
  const focused = document.activeElement === off;
  on.disabled = false;
  if (focused) on.focus(); // a disabled button loses the focus, and the keyboard its place
  off.disabled = true;
  story.setAttribute("aria-busy", writing); // so that a screen reader waits for the whole story
  again.hidden = writing || lastSeed === null;
}

async function start() {
  if (running || write.disabled) return;
  running = new AbortController();
  problem.hidden = story.hidden = true;
  for (const field of document.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  status.textContent = "Starting …";
  lastSeed = null;
  setWriting(true);
  try {
    for await (const event of writeStory(readRequest(), running.signal)) show[event.event](event);
  } catch (error) {
    fail(error);
  }
  running = null;
  setWriting(false);
}

function fail(error) {
  if (error.name === "AbortError") {
    status.textContent = lastSeed === null ? "Stopped." : `Stopped · seed ${lastSeed}`;
    return;
  }
  status.textContent = "";
  problem.textContent = error.message;
  problem.hidden = false;
  markField(error.message.split(":")[0]);
}

// Show which field a message such as `seed: expected at least 0, got -1` is about.
function markField(name) {
  if (name !== "prompt" && !NUMBERS.includes(name)) return;
  const field = element(name);
  field.setAttribute("aria-invalid", true);
  field.closest("details")?.setAttribute("open", "");
  field.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
form.addEventListener("input", showValues);
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
});
stop.addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => event.key === "Escape" && running?.abort());
again.addEventListener("click", () => {
  element("seed").value = lastSeed;
  element("settings").open = true;
});
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    prompt.value = example.textContent;
    prompt.focus();
  });
}
element("settings").open = matchMedia("(min-width: 56rem)").matches;
loadModel().catch(fail);
