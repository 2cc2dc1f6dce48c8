// Checks a request for a story as tinylm/sampling/request.py does, with the same messages and the bounds of model.json.

const CONTROL = /(?![\t\n\r])\p{Cc}/u, SURROGATE = /\p{Cs}/u;
const WORDS = { integer: "a whole number", number: "a number" };

// Throws an Error with a line for all values that are wrong.
export function check(request, description) {
  const mistakes = [promptMistake(request.prompt, description), temperatureMistake(request.temperature, description)];
  for (const name of ["top_k", "top_p", "max_tokens", "seed"]) {
    mistakes.push(numberMistake(request[name], name, description.request[name]));
  }
  const found = mistakes.filter(Boolean);
  if (found.length) throw new Error(found.join("; "));
}

function promptMistake(prompt, { limits, end_of_text }) {
  const length = [...prompt].length, most = limits.prompt;
  if (length > most) return `prompt: expected at most ${most} characters, got ${length}`;
  if (prompt.includes(end_of_text.text)) return `prompt: expected one story, got ${end_of_text.text}, which ends one`;
  const surrogate = SURROGATE.exec(prompt), control = CONTROL.exec(prompt);
  if (surrogate) return `prompt: expected Unicode text (UTF-8), got the lone surrogate ${codePoint(surrogate[0])}`;
  if (control) return `prompt: expected text without control characters, got ${codePoint(control[0])}`;
}

function codePoint(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function temperatureMistake(temperature, { limits, coldest }) {
  if (temperature === 0 || (temperature >= coldest && temperature <= limits.temperature)) return;
  const shown = Number.isInteger(temperature) ? temperature.toFixed(1) : temperature; // as Python shows a float
  return `temperature: expected 0, or ${coldest} to ${limits.temperature}, got ${shown}`;
}

// `schema` is the JSON schema of a number, or of a number or null.
function numberMistake(value, name, schema) {
  const alternatives = schema.anyOf ?? [schema];
  if (value === null && alternatives.some(({ type }) => type === "null")) return;
  const { type, minimum, exclusiveMinimum, maximum } = alternatives[0];
  let expected;
  if (typeof value !== "number" || (type === "integer" && !isWhole(value))) expected = WORDS[type];
  else if (value < minimum) expected = `at least ${minimum.toLocaleString("en")}`;
  else if (value <= exclusiveMinimum) expected = `more than ${exclusiveMinimum.toLocaleString("en")}`;
  else if (value > maximum) expected = `at most ${maximum.toLocaleString("en")}`;
  return expected && `${name}: expected ${expected}, got ${value}`;
}

function isWhole(value) {
  return Number.isInteger(value) && !String(value).includes("e"); // JSON writes larger ones as 1e21, a float
}
