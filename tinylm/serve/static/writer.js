// What the page needs of a writer of stories, here the server: `describe` and `write`. An error's message is for the user.

const LOST = "The connection to the server was lost; is it running?";

// What GET /model answers: the model, the defaults of a request, and their limits.
export async function describe() {
  return connected((await answerOf("model")).json());
}

// Yields the events of a story as they happen; the last one is `done`.
export async function* write(request, signal) {
  const headers = { "Content-Type": "application/json" };
  const answer = await answerOf("stories", { method: "POST", headers, body: JSON.stringify(request), signal });
  for await (const event of eventsOf(answer)) {
    if (event.event === "failed") throw new Error(event.error);
    yield event;
    if (event.event === "done") return;
  }
  throw new Error(LOST);
}

async function answerOf(path, options) {
  const answer = await connected(fetch(path, options));
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  throw new Error(body.error);
}

async function* eventsOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await connected(reader.read());
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

async function connected(answer) {
  try {
    return await answer;
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(LOST);
  }
}
