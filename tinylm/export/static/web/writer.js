// What the page needs of a writer of stories, here the browser itself: `describe` and `write`. A worker computes, so that
// the page stays responsive. An error's message is for the user.

const INCOMPLETE = "A script of this page could not be loaded; check that the server has the whole folder, and load the page again.";

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
// A message that comes before the worker listens would be lost, as may be while a library that it imports still waits.
const ready = new Promise((resolve) => worker.addEventListener("message", resolve, { once: true }));
const broken = new Promise((_, reject) => worker.addEventListener("error", () => reject(new Error(INCOMPLETE))));
broken.catch(() => {}); // it may break before anything is asked

// Loads the model, which takes a while; `show` is called with its progress. Returns what GET /model of a server answers.
export async function describe(show) {
  if (!("WebAssembly" in globalThis)) throw new Error("This browser has no WebAssembly, which runs the model; use a current one.");
  try {
    return await Promise.race([ready.then(() => ask("load", null, show)), broken]);
  } catch (error) {
    worker.terminate(); // and with it the other downloads
    throw error;
  }
}

// Yields the events of a story as they happen; the last one is `done`. Nothing is computed that is not asked for, so a
// story that nobody reads any more ends by itself.
export async function* write(request, signal) {
  const stopped = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  for (let question = "begin"; ; question = "next") {
    const event = await Promise.race([ask(question, request), stopped]);
    yield event;
    if (event.event === "done") return;
  }
}

// Each question has a channel of its own, so that an answer that comes too late reaches nobody.
function ask(question, value, show) {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve, reject) => {
    port1.addEventListener("message", ({ data: { progress, answer, error } }) => {
      if (progress) return show(progress);
      port1.close();
      if (error) reject(new Error(error));
      else resolve(answer);
    });
    port1.start();
    worker.postMessage({ question, value }, [port2]);
  });
}
