// The chat page. Model output, document text and file names are never trusted: everything becomes a text node, and
// the page's policy (require-trusted-types-for 'script') makes the browser refuse innerHTML altogether.

const $ = (id) => document.getElementById(id);
const words = JSON.parse($("words").textContent);
const options = document.body.dataset;
const language = document.documentElement.lang;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const wide = matchMedia("(min-width: 72rem)");
const typing = matchMedia("(pointer: fine)"); // where the focus does not bring up a keyboard over the answer

const HISTORY = 10; // messages sent along with a question; the server fits them to the model's window
const KEY = "lavra-key";

// --- words and nodes --------------------------------------------------------------------------------------------

const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
const count = (noun, n) => say(`${noun}_${n === 1 ? "one" : "many"}`, { n: n.toLocaleString(language) });

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function announce(text) {
  const line = element("p", {}, text);
  $("live").append(line);
  while ($("live").childElementCount > 40) $("live").firstChild.remove();
}

// --- the server -------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(message, code, retry) {
    super(message);
    this.code = code;
    this.retry = retry;
  }
}

let asking = null; // the key dialog's promise: one dialog, however many requests wait for it

function askKey(problem = "") {
  asking ??= new Promise((resolve) => {
    const dialog = $("key");
    $("key-problem").textContent = problem;
    $("key-value").value = "";
    dialog.oncancel = (event) => event.preventDefault();
    $("key-form").onsubmit = () => {
      sessionStorage.setItem(KEY, $("key-value").value.trim());
      asking = null;
      resolve();
    };
    dialog.showModal();
  });
  return asking;
}

async function call(path, request = {}) {
  for (;;) {
    if (options.wantsKey && !sessionStorage.getItem(KEY)) await askKey();
    const key = sessionStorage.getItem(KEY);
    const headers = { ...request.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    let response;
    try {
      response = await fetch(path, { ...request, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(say("unreachable"), "unreachable");
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => ({}));
    const error = body.error ?? { message: response.statusText };
    if (response.status === 401) {
      sessionStorage.removeItem(KEY);
      await askKey(key ? say("key_wrong") : "");
      continue;
    }
    if (error.code === "queue_full")
      throw new Refused(say("queue_full", { n: response.headers.get("Retry-After") ?? "?" }), error.code);
    throw new Refused(error.message, error.code);
  }
}

// The events of a stream: {data} for each chunk, {ahead} for the comments sent while waiting.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const records = buffer.split("\n\n");
    buffer = records.pop();
    for (const record of records) {
      if (record.startsWith(": ")) yield { ahead: parseInt(record.slice(2), 10) || 0 };
      else if (record === "data: [DONE]") return;
      else if (record.startsWith("data: ")) yield { data: JSON.parse(record.slice(6)) };
    }
  }
}

// --- Markdown, the little of it that answers use ------------------------------------------------------------------
// No links and no images on purpose: an address in an answer may be put there by a document, to lead people astray or
// to carry what they asked elsewhere.

const INLINE = /(?<!`)(`+)([^`\n]+)\1(?!`)|\*\*(.+?)\*\*|\*([^\s*](?:.*?[^\s*])?)\*|\[(\d+(?:\s*[,;]\s*\d+)*)\]/gs;

function inline(text, cite) {
  const nodes = [];
  let last = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, , code, strong, emphasis, numbers] = match;
    nodes.push(text.slice(last, match.index));
    last = match.index + whole.length;
    if (code !== undefined) nodes.push(element("code", {}, code));
    else if (strong !== undefined) nodes.push(element("strong", {}, ...inline(strong, cite)));
    else if (emphasis !== undefined) nodes.push(element("em", {}, ...inline(emphasis, cite)));
    else {
      const links = numbers.split(/\s*[,;]\s*/).map((number) => cite(Number(number)));
      nodes.push(...(links.every(Boolean) ? links : [whole]));
    }
  }
  nodes.push(text.slice(last));
  return nodes.filter((node) => node !== "");
}

const ITEM = /^(\s*)(?:[-*•]|(\d+)[.)])\s+(.*)$/;

function markdown(text, cite) {
  const blocks = [];
  const lines = text.split("\n");
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) blocks.push(element("p", {}, ...inline(paragraph.join("\n"), cite)));
    paragraph = [];
  };
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    const item = ITEM.exec(line);
    if (/^\s*```/.test(line)) {
      flush();
      const code = [];
      while (++i < lines.length && !/^\s*```/.test(lines[i])) code.push(lines[i]);
      blocks.push(element("pre", { tabindex: "0" }, element("code", {}, code.join("\n"))));
    } else if (heading) {
      flush();
      blocks.push(element(`h${Math.min(heading[1].length + 2, 6)}`, {}, ...inline(heading[2], cite)));
    } else if (item) {
      flush();
      const list = item[2] === undefined ? element("ul") : element("ol", { start: item[2] });
      for (let next = item; next; next = ITEM.exec(lines[++i] ?? "")) list.append(element("li", {}, ...inline(next[3], cite)));
      i--;
      blocks.push(list);
    } else if (!line.trim()) flush();
    else paragraph.push(line);
  }
  flush();
  return blocks;
}

// --- sources ----------------------------------------------------------------------------------------------------

function place({ source, title, page, headings }) {
  const within = page ? say("page_short", { label: page }) : headings.filter((heading) => heading !== title).join(" › ");
  return within ? `${source} · ${within}` : source;
}

// The citation's own page, in the language that was chosen for this one.
function address(citation) {
  const url = new URL(citation.url, location.origin);
  const chosen = new URLSearchParams(location.search).get("lang");
  if (chosen) url.searchParams.set("lang", chosen);
  return url.pathname + url.search + url.hash;
}

// A link where the address works by itself, a button where only this page has the key.
function opener(citation, attributes, ...children) {
  const open = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openSource(citation, event.currentTarget);
  };
  return options.wantsKey
    ? element("button", { type: "button", onclick: open, ...attributes }, ...children)
    : element("a", { href: address(citation), onclick: open, ...attributes }, ...children);
}

const chip = (citation) =>
  opener(
    citation,
    {
      class: "cite",
      title: place(citation),
      "aria-label": say("open_source", { n: citation.number, title: citation.title || citation.source }),
    },
    String(citation.number),
  );

function sourceList(citations) {
  const list = element("ol", { class: "sources", "aria-label": say("sources") });
  for (const citation of citations) {
    const head = element("span", { class: "head" }, element("b", {}, citation.title || citation.source), " ");
    head.append(element("span", { class: "place" }, place(citation)));
    list.append(
      element(
        "li",
        {},
        opener(
          citation,
          { class: "source" },
          element("span", { class: "number", "aria-hidden": "true" }, String(citation.number)),
          element("span", { class: "body" }, head, element("q", {}, ...inline(citation.quote.trim(), () => null))),
        ),
      ),
    );
  }
  return list;
}

let opened = null; // what had the focus before the panel

async function openSource(citation, from, part = null) {
  const panel = $("panel");
  const query = part ? `part=${part}` : `start=${citation.start}&end=${citation.end}`;
  let source;
  try {
    source = await (await call(`/api/sources/${encodeURIComponent(citation.document_id)}?${query}`)).json();
  } catch (error) {
    notice(say("failed", { reason: error.message }), true);
    return;
  }
  $("panel-title").textContent = source.title || source.source;
  $("panel-place").textContent = source.source;
  $("panel-link").hidden = Boolean(options.wantsKey);
  $("panel-link").href = address(citation);
  const text = $("panel-text");
  text.replaceChildren(...source.blocks.map(block));
  if (source.language !== "und") text.lang = source.language;
  if (source.parts > 1) text.append(partsNavigation(citation, source, from));
  if (from) opened = from;
  if (!panel.open) wide.matches ? panel.show() : panel.showModal();
  document.body.classList.add("with-panel");
  text.focus({ preventScroll: true });
  const mark = text.querySelector("mark");
  if (!mark) {
    text.scrollTop = 0;
    return;
  }
  mark.id = "cite";
  // The part above the passage stays in view, so that one sees where it stands.
  text.scrollTop = mark.getBoundingClientRect().top - text.getBoundingClientRect().top + text.scrollTop - 96;
}

function partsNavigation(citation, source, from) {
  const turn = (key, part) => element("button", { type: "button", class: "quiet", onclick: () => openSource(citation, from, part) }, say(key));
  return element(
    "nav",
    { class: "parts" },
    source.part > 1 ? turn("previous", source.part - 1) : null,
    element("span", {}, say("part", { n: source.part, count: source.parts })),
    source.part < source.parts ? turn("next", source.part + 1) : null,
  );
}

const piece = ([text, cited, style]) => {
  const node = style ? element(style, {}, text) : text;
  return cited ? element("mark", {}, node) : node;
};

function block({ kind, level, label, place: where, pieces, rows }) {
  if (kind === "page") return element("p", { class: "turn", lang: language }, element("span", {}, say(where, { label })));
  if (rows.length) {
    const lines = rows.map((row, n) => element("tr", {}, ...row.map((cell) => element(n ? "td" : "th", {}, ...cell.map(piece)))));
    const attributes = { class: "scroll", tabindex: "0", role: "region", "aria-label": say("table") };
    return element("div", attributes, element("table", {}, ...lines));
  }
  const children = pieces.map(piece);
  if (kind === "heading") return element(`h${Math.min(level + 2, 6)}`, {}, ...children);
  if (kind === "text") return element("p", {}, ...children);
  if (kind === "item") return element("p", { class: "item" }, element("span", {}, label), element("span", {}, ...children));
  return element("pre", { class: kind, tabindex: "0" }, ...children);
}

function closePanel() {
  $("panel").close();
  closed();
}

// At once where the page closes it: the event comes later, when people may have moved the focus on.
function closed() {
  document.body.classList.remove("with-panel");
  if (!opened) return;
  opened.isConnected ? opened.focus() : $("question").focus();
  opened = null;
}

$("panel-close").addEventListener("click", closePanel);
$("panel").addEventListener("close", () => $("panel").open || closed());
$("panel").addEventListener("click", (event) => {
  if (event.target === $("panel")) closePanel(); // the backdrop
});

// --- asking -----------------------------------------------------------------------------------------------------

let messages = [];
let running = null; // the AbortController of the answer being made

function notice(text, bad = false) {
  $("welcome").hidden = true;
  const node = element("p", { class: bad ? "notice bad" : "notice" }, text);
  $("turns").append(node);
  announce(text);
  if (!running) node.scrollIntoView({ block: "nearest", behavior: still.matches ? "auto" : "smooth" });
  return node;
}

const copyIcon = () => $("copy-icon").content.cloneNode(true);

// One answer on the page, as it grows.
class AnswerView {
  constructor(question) {
    this.text = "";
    this.sources = new Map();
    this.spoken = 0;
    this.status = element("p", { class: "status" }, element("span", { class: "pulse", "aria-hidden": "true" }), say("searching"));
    this.body = element("div", { class: "prose", dir: "auto" });
    this.after = element("div", { class: "after" });
    this.node = element(
      "article",
      { class: "exchange" },
      element("h2", { class: "asked", dir: "auto" }, element("span", { class: "unseen" }, `${say("you")}: `), question),
      this.status,
      this.body,
      this.after,
    );
    $("turns").append(this.node);
    this.node.scrollIntoView({ block: "start", behavior: still.matches ? "auto" : "smooth" });
  }

  setStatus(text) {
    this.status.lastChild.textContent = text;
    this.status.hidden = !text;
  }

  offer(citations) {
    for (const citation of citations) this.sources.set(citation.number, citation);
    if (citations.length && !this.text) this.setStatus(say("reading", { passages: count("passage", citations.length) }));
  }

  push(text) {
    this.text += text;
    this.setStatus("");
    this.node.classList.add("streaming");
    this.speak(/[.!?:]\s|\n/g);
    // One drawing a frame, however many tokens came.
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  // Whole sentences go to the screen reader, once each; the drawn text is replaced too often to be read out.
  speak(boundary) {
    let end = this.spoken;
    for (const match of this.text.slice(this.spoken).matchAll(boundary)) end = this.spoken + match.index + match[0].length;
    const sentence = this.text.slice(this.spoken, end).replace(/\[[\d,; ]+\]|[*`#]/g, "").trim();
    if (sentence) announce(sentence);
    this.spoken = end;
  }

  // The page does not follow the text: the question stays on top, and people read from there at their own pace.
  draw() {
    const cite = (number) => (this.sources.has(number) ? chip(this.sources.get(number)) : null);
    this.body.replaceChildren(...markdown(this.text, cite));
  }

  finish({ citations = [], answerable = true, note = "", bad = false, retry = null }) {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.setStatus("");
    this.node.classList.remove("streaming");
    this.node.classList.toggle("unanswered", !answerable);
    for (const citation of citations) this.sources.set(citation.number, citation);
    this.speak(/$/g);
    this.draw();
    if (note) this.after.append(element("p", { class: bad ? "notice bad" : "note" }, note));
    if (retry) this.after.append(element("button", { type: "button", class: "quiet", onclick: retry }, say("retry")));
    if (citations.length) this.after.append(element("h3", {}, say("sources")), sourceList(citations));
    if (this.text && navigator.clipboard) {
      const label = element("span", {}, say("copy"));
      const copy = async () => {
        await navigator.clipboard.writeText(this.text);
        label.textContent = say("copied");
      };
      this.after.append(element("button", { type: "button", class: "quiet copy", onclick: copy }, copyIcon(), label));
    }
    announce([note || say("done"), citations.length ? `${say("sources")}: ${citations.length}` : ""].join(" "));
  }
}

function busy(controller) {
  running = controller;
  const hadFocus = [$("send"), $("stop")].includes(document.activeElement);
  $("send").hidden = Boolean(controller);
  $("stop").hidden = !controller;
  $("new").hidden = Boolean(controller) || !$("turns").childElementCount;
  if (hadFocus && typing.matches) $("question").focus();
}

async function ask(question) {
  if (running) return;
  $("welcome").hidden = true;
  const view = new AnswerView(question);
  const controller = new AbortController();
  busy(controller);
  messages.push({ role: "user", content: question });
  let last = null;
  try {
    const response = await call("/v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ messages: messages.slice(-HISTORY + 1), stream: true }),
      signal: controller.signal,
    });
    for await (const { data, ahead } of events(response)) {
      if (ahead) view.setStatus(say("waiting", { n: ahead }));
      if (!data) continue;
      if (data.error) throw new Refused(data.error.message, data.error.code);
      if (data.retrieved) view.offer(data.retrieved);
      const choice = data.choices[0];
      if (choice?.delta.content) view.push(choice.delta.content);
      if (choice?.finish_reason) last = { ...data, finish: choice.finish_reason };
    }
    if (!last) throw new Refused(say("unreachable"));
    view.finish({
      citations: last.citations,
      answerable: last.answerable,
      note: last.finish === "length" ? say("cut") : "",
    });
    messages.push({ role: "assistant", content: view.text });
  } catch (error) {
    if (controller.signal.aborted) {
      const cited = [...view.sources.values()].filter(({ number }) => new RegExp(`\\[[^\\]]*\\b${number}\\b`).test(view.text));
      view.finish({ citations: cited, note: say("stopped") });
      if (view.text) messages.push({ role: "assistant", content: view.text });
      else messages.pop();
    } else {
      messages.pop();
      const reason = error instanceof Refused ? error.message : say("unreachable");
      const retry = () => {
        view.node.remove();
        ask(question);
      };
      view.finish({ note: say("failed", { reason }), bad: true, retry });
    }
  } finally {
    busy(null);
  }
}

const field = $("question");

function submit() {
  const question = field.value.trim();
  if (!question || running) return;
  field.value = "";
  grow();
  ask(question);
}

function grow() {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, innerHeight * 0.4)}px`;
}

field.addEventListener("input", grow);
field.addEventListener("keydown", (event) => {
  // While an input method composes (accents, kana), Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("stop").addEventListener("click", () => running?.abort());
$("examples").addEventListener("click", (event) => {
  if (event.target.tagName === "BUTTON") ask(event.target.textContent);
});
$("new").addEventListener("click", () => {
  messages = [];
  $("turns").replaceChildren();
  $("welcome").hidden = false;
  if ($("panel").open) closePanel();
  busy(null);
  field.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || $("key").open) return;
  if ($("panel").open) closePanel();
  else running?.abort();
});

// --- adding documents ---------------------------------------------------------------------------------------------

async function add(files) {
  for (const file of files) {
    const limit = Number(options.maxUpload);
    const name = file.name;
    if (file.size > limit) {
      const reason = say("too_large", { name, limit: Math.floor(limit / 2 ** 20) });
      notice(reason, true);
      continue;
    }
    const line = notice(say("adding", { name }));
    line.classList.add("working");
    try {
      const body = new FormData();
      body.append("file", file);
      const { results } = await (await call("/api/documents", { method: "POST", body })).json();
      line.remove();
      for (const result of results) {
        const { source, passages, reason } = result;
        if (result.result === "added") notice(say("added", { name: source, passages: count("passage", passages) }));
        else notice(say("skipped", { name: source, reason }), true);
      }
    } catch (error) {
      line.remove();
      notice(say("skipped", { name, reason: error.message }), true);
    }
  }
  busy(running);
  refresh();
}

if (options.uploads) {
  $("add").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", async () => {
    await add([...$("files").files]);
    $("files").value = "";
  });
  let depth = 0; // dragenter and dragleave come for every element passed over
  const over = (step) => {
    depth = step === 0 ? 0 : depth + step;
    $("drop").hidden = depth <= 0;
  };
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => carriesFiles(event) && over(1));
  addEventListener("dragleave", (event) => carriesFiles(event) && over(-1));
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    over(0);
    add([...event.dataTransfer.files]);
  });
}

// --- what the server has --------------------------------------------------------------------------------------------

async function refresh(withExamples = false) {
  const status = await (await call("/api/status")).json();
  const documents = status.counts.documents ?? 0;
  $("counts").textContent = documents ? count("document", documents) : "";
  $("empty").hidden = documents > 0;
  if ($("add")) $("add").hidden = !status.uploads;
  if (!withExamples || !status.examples.length) return;
  const list = $("examples").querySelector("ul");
  list.replaceChildren(...status.examples.map((text) => element("li", {}, element("button", { type: "button" }, text))));
  $("examples").hidden = false;
}

if (typing.matches) field.focus();
if (options.wantsKey) refresh(true).catch((error) => notice(error.message, true));
