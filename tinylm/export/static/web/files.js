// Downloads the files of the page. An error names the file.

// Returns a file's bytes; `size` is how many it has, and `received` is called with the number of each part.
export async function load(name, size, received) {
  const bytes = new Uint8Array(size);
  let end = 0;
  for await (const part of partsOf(name)) {
    if (end + part.length <= size) bytes.set(part, end);
    end += part.length;
    received(part.length);
  }
  if (end !== size) throw new Error(`${name}: expected ${size} bytes, got ${end}; check that the server has the whole file`);
  return bytes;
}

export async function loadJSON(name) {
  const decoder = new TextDecoder();
  let text = "";
  for await (const part of partsOf(name)) text += decoder.decode(part, { stream: true });
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${name}: expected JSON, got something else; check that the server has the whole folder`);
  }
}

async function* partsOf(name) {
  const answer = await connected(name, fetch(new URL(name, import.meta.url)));
  if (!answer.ok) {
    throw new Error(`${name}: the server answered ${answer.status}; check that it has the whole folder`);
  }
  const reader = answer.body.getReader();
  for (;;) {
    const { value, done } = await connected(name, reader.read());
    if (done) return;
    yield value;
  }
}

async function connected(name, answer) {
  try {
    return await answer;
  } catch {
    throw new Error(`${name}: not received; check the connection to the server, and load the page again`);
  }
}
