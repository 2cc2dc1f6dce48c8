// Create elements. Text is always set as text: a story is never parsed as HTML.

function fill(made, attributes, parent, text) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function element(name, attributes = {}, parent, text) {
  return fill(document.createElement(name), attributes, parent, text);
}

function shape(name, attributes = {}, parent, text) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, parent, text);
}

// Format a number: whole numbers with separators, others with four significant digits.
function show(value) {
  if (value === null || value === undefined) return "–";
  const digits = Number.isInteger(value) || Math.abs(value) >= 1e4 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 };
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(1).replace("e-", "e−");
  return value.toLocaleString("en-US", digits).replace("-", "−");
}

// The texts within an element with spaces between them, as a screen reader should read them.
function spoken(shown) {
  const texts = [...shown.childNodes].map((node) => node.textContent.trim());
  return texts.filter(Boolean).join(" ");
}

// A row of buttons of which one is selected.
function choice(parent, name, options, chosen, onChange) {
  const group = element("div", { class: "choice", role: "group", "aria-label": name }, parent);
  const buttons = options.map((option) => {
    const button = element("button", { type: "button", "aria-pressed": option === chosen }, group, option);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", other === button);
      onChange(option);
    });
    return button;
  });
}

// A labelled list of prompts.
function prompts(parent, id, texts, onChange) {
  const label = element("label", { for: id, class: "prompts" }, parent);
  element("span", {}, label, "Prompt");
  const list = element("select", { id }, label);
  texts.forEach((text, n) => element("option", { value: n }, list, `${text} …`));
  list.addEventListener("change", () => onChange(Number(list.value)));
}
