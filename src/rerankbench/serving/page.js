"use strict";

const SHOWN = 10;
const LONG = 400; // characters beyond which a text can be unfolded
const element = (id) => document.getElementById(id);
let info = null;
let ready = null;
let latest = 0;

function make(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function ask(path, body) {
  const headers = { "Content-Type": "application/json" };
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
  const reply = await fetch(path, options);
  const answer = await reply.json().catch(() => ({}));
  if (reply.status === 401) element("unlock").hidden = false;
  if (!reply.ok) throw new Error(answer.error || `the service answers ${reply.status}`);
  element("unlock").hidden = true;
  return answer;
}

function say(text, wrong) {
  element("status").textContent = text;
  element("status").classList.toggle("error", Boolean(wrong));
}

/* Words as they are compared: letters and digits, in scripts without spaces each character. */
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Khmer}\p{Script=Lao}\p{Script=Myanmar}]/u;
const WORD = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Khmer}\p{Script=Lao}\p{Script=Myanmar}]|[\p{L}\p{M}\p{N}]+/gu;
const COMMON = new Set(("about and are but can did does for from had has have how into not that the their them they this was "
  + "were what when where which who why will with would you your").split(" ")); // marked, they would hide the others
const folded = (word) => word.normalize("NFKC").toLowerCase();

function wordsOf(query) {
  const found = (query.match(WORD) || []).map(folded).filter((word) => !COMMON.has(word));
  return new Set(found.filter((word) => word.length > 2 || UNSPACED.test(word) || /\d/.test(word)));
}

function marked(text, words) {
  const made = document.createDocumentFragment();
  let at = 0;
  for (const match of text.matchAll(WORD)) {
    if (!words.has(folded(match[0]))) continue;
    made.append(text.slice(at, match.index), make("mark", "", match[0]));
    at = match.index + match[0].length;
  }
  made.append(text.slice(at));
  return made;
}

function moved(entry, before) {
  const by = entry.first_rank - entry.rank;
  const there = before ? `rank ${entry.rank} reranked` : `rank ${entry.first_rank} before`;
  if (by === 0) return make("span", "move", "stays");
  const made = make("span", `move ${by > 0 ? "up" : "down"}`, `${by > 0 ? "▲" : "▼"} ${Math.abs(by)}`);
  made.append(make("span", "numbers", ` ${there}`));
  return made;
}

const number = (value) => (value === null ? "none" : Number(value).toPrecision(4));

function card(entry, before, words) {
  const made = make("li");
  made.dataset.doc = entry.doc_id;
  const head = make("div");
  head.append(make("span", "rank", String(before ? entry.first_rank : entry.rank)), moved(entry, before));
  const text = make("p", "text");
  text.dir = "auto";
  text.append(marked(entry.text, words));
  const score = before ? entry.first_score : entry.score;
  const told = entry.steps || before ? `score ${number(score)}` : "below the depth: not reranked";
  made.append(head, text, make("div", "numbers", `${entry.doc_id}, ${told}`));
  if (entry.text.length > LONG) {
    const more = make("button", "more", "Whole text");
    more.type = "button";
    more.addEventListener("click", () => {
      more.textContent = made.classList.toggle("whole") ? "Less" : "Whole text";
    });
    made.append(more);
  }
  for (const [event, on] of [["pointerenter", true], ["pointerleave", false]]) {
    made.addEventListener(event, () => {
      for (const other of document.querySelectorAll("#lists li")) {
        other.classList.toggle("touched", on && other.dataset.doc === entry.doc_id);
      }
    });
  }
  return made;
}

function show(found) {
  const words = wordsOf(found.query);
  const [before, after] = element("lists").querySelectorAll("section");
  before.querySelector("ol").replaceChildren(...found.first_stage.map((entry) => card(entry, true, words)));
  after.querySelector("ol").replaceChildren(...found.results.map((entry) => card(entry, false, words)));
  before.querySelector(".hint").textContent = `found in ${found.ms.search.toFixed(0)} ms`;
  after.querySelector(".hint").textContent = `${found.arm}, in ${found.ms.rerank.toFixed(0)} ms more`;
  element("lists").hidden = false;
  const changed = found.results.filter((entry) => entry.rank !== entry.first_rank).length;
  say(
    found.candidates
      ? `${found.candidates} candidates; ${changed} of the first ${found.results.length} moved.`
      : "Nothing was found for this query.",
  );
}

function address(query, arm) {
  return `?${new URLSearchParams({ q: query, arm })}`;
}

async function search(push) {
  if (!info) await ready; // typed before the arms were known
  const query = element("query").value, arm = element("arm").value, mine = ++latest;
  if (!query.trim()) return;
  const here = address(query, arm);
  if (push) history.pushState(null, "", here);
  element("link").hidden = false;
  element("link").firstElementChild.href = here;
  say("Searching…");
  try {
    const found = await ask("search", { query, arm, top_k: SHOWN });
    if (mine === latest) show(found);
  } catch (error) {
    if (mine !== latest) return;
    element("lists").hidden = true;
    say(`No answer: ${error.message}`, true);
  }
}

function fromAddress() {
  const asked = new URLSearchParams(location.search);
  const known = info.arms.map((arm) => arm.name);
  if (known.includes(asked.get("arm"))) element("arm").value = asked.get("arm");
  if (!asked.get("q")) return;
  element("query").value = asked.get("q");
  search(false);
}

function about(arm) {
  const data = arm.judgements || {};
  const told = data.docs ? `${data.name}: ${Number(data.docs).toLocaleString("en")} documents. ` : "";
  element("about").textContent = told + (arm.verdict || "");
}

async function start() {
  const told = await ask("info");
  const able = told.arms.filter((arm) => arm.search);
  element("arm").replaceChildren(...able.map((arm) => new Option(arm.name, arm.name)));
  info = told;
  about(info.arms[0]);
  if (!able.length) {
    say(`There is no search: ${info.arms[0].search_why}`, true);
    return;
  }
  element("examples").replaceChildren(element("examples").firstElementChild);
  for (const query of info.examples) {
    const link = make("a", "", query);
    link.href = address(query, able[0].name);
    link.addEventListener("click", (event) => {
      event.preventDefault();
      element("query").value = query;
      search(true);
    });
    element("examples").append(" ", link);
  }
  element("examples").hidden = !info.examples.length;
  fromAddress();
}

element("ask").addEventListener("submit", (event) => { event.preventDefault(); search(true); });
element("arm").addEventListener("change", () => {
  const chosen = info.arms.find((arm) => arm.name === element("arm").value);
  if (chosen) about(chosen);
  search(true);
});
element("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", element("key").value);
  begin();
});
window.addEventListener("popstate", () => { if (info) fromAddress(); });

function begin() {
  ready = start().catch((error) => say(error.message, true));
}
begin();
