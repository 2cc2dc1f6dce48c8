// The thread that has the model. It answers the questions of writer.js, one after the other.

import { Model } from "./generation.js";
import { load, loadJSON } from "./files.js";
import { check } from "./request.js";
import { write } from "./streaming.js";
import { Tokenizer } from "./vendor/tokenizers.min.js";

const GRAPH = "model.onnx", TOKENIZER = "tokenizer.json", RUNTIME = "vendor/ort-wasm-simd-threaded.wasm";
const SHOWN_STEP = 10; // of the progress [%]; a screen reader reads each

let description, model, tokenizer, story;

const answers = {
  async load(_, show) {
    description = await loadJSON("model.json");
    const sizes = description.files;
    const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
    let received = 0, shown = -1;
    const files = await Promise.all([GRAPH, RUNTIME, TOKENIZER].map((name) => load(name, sizes[name], (bytes) => {
      received += bytes;
      const percent = Math.floor((100 * received) / total / SHOWN_STEP) * SHOWN_STEP;
      if (percent > shown) show(`Loading the model: ${(shown = percent)}% of ${(total / 1e6).toFixed(0)} MB …`);
    })));
    show("Starting the model …");
    tokenizer = new Tokenizer(JSON.parse(new TextDecoder().decode(files[2])), { clean_up_tokenization_spaces: false });
    model = await Model.open(files[0], files[1], description.end_of_text.id);
    return description;
  },
  async begin(request) {
    check(request, description);
    story = write(model, tokenizer, request, description.limits.max_tokens);
    return answers.next();
  },
  async next() {
    return (await story.next()).value;
  },
};

let last = Promise.resolve();

addEventListener("message", ({ data: { question, value }, ports: [port] }) => {
  last = last
    .then(() => answers[question](value, (progress) => port.postMessage({ progress })))
    .then((answer) => port.postMessage({ answer }), (error) => port.postMessage({ error: error.message }));
});

postMessage("ready");
