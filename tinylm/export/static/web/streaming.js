// A story as events, as in tinylm/sampling/streaming.py.

import { uniform } from "./counter_rng.js";
import { draw } from "./sampler.js";

const STORY = 0; // number of the story among those of its seed; `tinylm write` begins with this one
const UNFINISHED = "\ufffd"; // stands for the bytes of a character that is not complete

// Yields `begun`, `text` for each token, and `done`. `context` is the length of the longest story [tokens].
export async function* write(model, tokenizer, request, context) {
  const ids = tokenizer.encode(request.prompt, { add_special_tokens: false }).ids;
  const longest = Math.min(request.max_tokens, context);
  checkLength(ids.length, longest, context);
  const seed = request.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
  const decoder = new Decoder(tokenizer, ids);
  yield { event: "begun", prompt: decoder.text, seed };
  const started = performance.now();
  const prompted = ids.length;
  let seconds = 0;
  const choose = (logits, position) => draw(logits, uniform(seed, STORY, position), request);
  for await (const id of model.continue(ids, longest, choose)) {
    ids.push(id);
    seconds = (performance.now() - started) / 1000;
    yield { event: "text", text: decoder.add(id) };
  }
  yield { event: "text", text: decoder.rest() };
  const tokens_per_second = seconds && (ids.length - prompted) / seconds;
  yield { event: "done", ended: ids.length < longest, tokens: ids.length, tokens_per_second };
}

function checkLength(length, longest, context) {
  if (length < longest) return;
  const remedy = longest < context ? "raise max_tokens, or shorten it" : "shorten it";
  throw new Error(`prompt: expected fewer than ${longest} tokens (the longest story), got ${length}; ${remedy}`);
}

// Decodes a story piece by piece. A piece has only complete characters, although a token may end inside one.
class Decoder {
  constructor(tokenizer, prompt) {
    this.decode = (ids) => (ids.length ? tokenizer.decode(ids, { skip_special_tokens: true }) : "");
    this.ids = [...prompt];
    this.text = this.decode(this.ids);
    this.start = 0; // of the ids that are decoded again with the next one: a token's text may depend on the one before
    this.end = prompt.length; // of the ids whose text is complete
  }

  add(id) {
    this.ids.push(id);
    const before = this.decode(this.ids.slice(this.start, this.end));
    const after = this.decode(this.ids.slice(this.start));
    if (after.endsWith(UNFINISHED) || after.length <= before.length) return "";
    this.start = this.end;
    this.end = this.ids.length;
    return this.show(after.slice(before.length));
  }

  // Returns what is left at the end: bytes that never completed a character.
  rest() {
    return this.show(this.decode(this.ids).slice(this.text.length));
  }

  show(piece) {
    this.text += piece;
    return piece;
  }
}
