// The model: an ONNX graph with a cache of keys and values.

import * as ort from "./vendor/ort.wasm.bundle.min.js";

const PAST = /^past_key_values/;

export class Model {
  // Takes the bytes of the graph and of the WebAssembly that runs it.
  static async open(graph, runtime, endOfText) {
    ort.env.wasm.wasmBinary = runtime;
    ort.env.wasm.numThreads = 1; // threads share memory, which needs HTTP headers that static hosts do not send
    return new Model(await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] }), endOfText);
  }

  constructor(session, endOfText) {
    this.session = session;
    this.endOfText = endOfText;
    this.past = session.inputMetadata.filter(({ name }) => PAST.test(name));
  }

  // Yields the ids that follow the prompt, until the model writes end-of-text or there are `longest`, prompt included.
  // `draw` is called with the logits and the position of the next id; end-of-text stands before the story.
  async *continue(prompt, longest, draw) {
    let ids = [this.endOfText, ...prompt];
    let cache = this.emptyCache();
    for (let position = ids.length; position <= longest; position++) {
      const outputs = await this.session.run({ ...inputsOf(ids, position), ...cache });
      const id = draw(outputs.logits.data.subarray(-outputs.logits.dims[2]), position);
      if (id === this.endOfText) return;
      yield id;
      ids = [id];
      cache = Object.fromEntries(this.past.map(({ name }) => [name, outputs[name.replace(PAST, "present")]]));
    }
  }

  emptyCache() {
    const empty = ({ name, shape: [, heads, , size] }) => [name, new ort.Tensor("float32", [], [1, heads, 0, size])];
    return Object.fromEntries(this.past.map(empty));
  }
}

// Returns the inputs for the last `ids` of the first `end`.
function inputsOf(ids, end) {
  const row = (length, value) => new ort.Tensor("int64", BigInt64Array.from({ length }, value), [1, length]);
  return {
    input_ids: row(ids.length, (_, i) => BigInt(ids[i])),
    position_ids: row(ids.length, (_, i) => BigInt(end - ids.length + i)),
    attention_mask: row(end, () => 1n),
  };
}
