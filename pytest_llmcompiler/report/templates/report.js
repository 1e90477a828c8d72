"use strict";
(() => {
  const PAGE = 50; // rows of a page of the table: drawing more is slow
  const MAX_UNPACKED = 8; // items whose texts stay unpacked: each may be a megabyte
  const data = JSON.parse(document.getElementById("index").textContent);
  const packedTexts = document.querySelectorAll("script.item-texts");
  const byId = (id) => document.getElementById(id);

  // Builds an element. What models wrote is inserted as text, never as HTML.
  function element(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "class") node.className = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  // -- the samples: filtering and sorting

  const samples = data.samples.map(([question, sample, kind, message, prompt, answer, seconds, isRefused], number) => {
    const [file, name, variant] = data.questions[question];
    return { number, question, sample, kind, message: data.messages[message], prompt, answer, seconds, isRefused, file, name, variant };
  });
  const columns = [
    { id: "function", title: "Function", value: (entry) => entry.name },
    { id: "file", title: "File", value: (entry) => entry.file },
    { id: "passes", title: "Passes", value: (entry) => entry.variant },
    { id: "sample", title: "Sample", value: (entry) => entry.sample, number: true },
    { id: "verdict", title: "Verdict", value: (entry) => entry.kind, text: (entry) => data.kinds[entry.kind] },
    { id: "message", title: "Message", value: (entry) => entry.message },
    { id: "prompt", title: "Prompt", about: "tokens of the prompt", value: (entry) => entry.prompt, number: true },
    { id: "answer", title: "Answer", about: "tokens of the answer", value: (entry) => entry.answer, number: true },
    { id: "seconds", title: "Seconds", about: "that the answer took", value: (entry) => entry.seconds, number: true, text: (entry) => entry.seconds === null ? "–" : entry.seconds.toFixed(1) },
  ].filter((column) => samples.some((entry) => column.value(entry) !== null));
  const collator = new Intl.Collator("en", { numeric: true });
  const state = { kinds: new Set(), find: "", file: "", refused: false, column: null, down: false, page: 0, rows: samples, open: null };

  function compare(first, second) {
    if (first === second) return 0;
    if (first === null) return 1; // unknown values come last
    if (second === null) return -1;
    return typeof first === "number" ? first - second : collator.compare(first, second);
  }

  function select() {
    const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (entry) => {
      const text = `${entry.file}::${entry.name}[${entry.variant}] ${entry.message}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    state.rows = samples.filter((entry) =>
      (!state.kinds.size || state.kinds.has(entry.kind)) && (!state.file || entry.file === state.file) && (!state.refused || entry.isRefused) && (!words.length || matches(entry)));
    if (state.column) {
      const { value } = state.column;
      const sign = state.down ? -1 : 1;
      state.rows.sort((a, b) => sign * compare(value(a), value(b)) || a.number - b.number);
    }
    state.page = 0;
    show();
  }

  // -- the table

  const heads = new Map();
  for (const column of columns) {
    const sort = element("button", { type: "button", ...(column.about ? { title: column.about } : {}), onclick: () => {
      state.down = state.column === column && !state.down;
      state.column = column;
      for (const [other, head] of heads) {
        if (other === column) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      }
      select();
    } }, column.title);
    heads.set(column, element("th", { scope: "col", class: `c-${column.id}${column.number ? " number" : ""}` }, sort));
  }
  byId("table").tHead.rows[0].append(...heads.values());

  function cell(column, entry) {
    const text = column.text ? column.text(entry) : column.value(entry) === null ? "–" : column.number ? column.value(entry).toLocaleString("en") : column.value(entry);
    const attributes = { class: `c-${column.id}${column.number ? " number" : ""}` };
    if (column.id === "function") {
      const opens = element("button", { type: "button", class: "link", title: text, "aria-haspopup": "dialog", onclick: () => open(entry) }, text);
      return element("td", attributes, opens);
    }
    if (column.id === "verdict") return element("td", attributes, element("span", { class: `patch ${text}` }), text);
    return element("td", { ...attributes, ...(column.number ? {} : { title: text }) }, text);
  }

  function show() {
    const count = state.rows.length;
    const pages = Math.max(1, Math.ceil(count / PAGE));
    const start = state.page * PAGE;
    const rows = state.rows.slice(start, start + PAGE);
    byId("table").tBodies[0].replaceChildren(...rows.map((entry) => element("tr", {}, ...columns.map((column) => cell(column, entry)))));
    const of = count === samples.length ? "" : ` of ${samples.length.toLocaleString("en")}`;
    byId("shown").textContent = `${count.toLocaleString("en")}${of} sample${samples.length === 1 ? "" : "s"}`;
    byId("page").textContent = `page ${state.page + 1} of ${pages}`;
    byId("before").disabled = state.page === 0;
    byId("after").disabled = state.page >= pages - 1;
  }

  function turn(step) {
    state.page += step;
    show();
    byId("shown").scrollIntoView({ block: "start" });
  }
  byId("before").addEventListener("click", () => turn(-1));
  byId("after").addEventListener("click", () => turn(1));

  // -- the filters

  for (const [kind, name] of data.kinds.entries()) {
    const count = samples.filter((entry) => entry.kind === kind).length;
    if (!count) continue;
    const button = element("button", { type: "button", "aria-pressed": "false", onclick: () => {
      const pressed = !state.kinds.delete(kind);
      if (pressed) state.kinds.add(kind);
      button.setAttribute("aria-pressed", String(pressed));
      select();
    } }, element("span", { class: `patch ${name}` }), `${name} ${count.toLocaleString("en")}`);
    byId("kinds").append(button);
  }
  for (const file of new Set(samples.map((entry) => entry.file))) byId("file").append(element("option", { value: file }, file));
  byId("file").addEventListener("change", (event) => { state.file = event.target.value; select(); });
  const refused = byId("refused"); // only there where cases came with tests
  refused?.addEventListener("change", () => { state.refused = refused.checked; select(); });
  byId("show-refused")?.addEventListener("click", () => {
    clearFilters();
    refused.checked = state.refused = true;
    select();
    refused.focus();
    refused.scrollIntoView({ block: "center" });
  });
  function clearFilters() {
    byId("find").value = state.find = byId("file").value = state.file = "";
    if (refused) refused.checked = state.refused = false;
    state.kinds.clear();
    for (const pressed of byId("kinds").children) pressed.setAttribute("aria-pressed", "false");
  }
  let typing = 0;
  byId("find").addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => { state.find = event.target.value; select(); }, 120);
  });
  for (const button of document.querySelectorAll("[data-find]")) {
    button.addEventListener("click", () => {
      clearFilters();
      byId("find").value = state.find = `${button.dataset.find}[`;
      select();
      byId("find").focus();
      byId("find").scrollIntoView({ block: "center" });
    });
  }

  // -- the view of a sample

  // The texts that were used last. A Map lists its keys in the order of insertion, so the first key was used longest ago.
  const unpacked = new Map();
  function textsOf(question) {
    let texts = unpacked.get(question);
    if (!texts) texts = unpack(packedTexts[question].textContent);
    unpacked.delete(question);
    unpacked.set(question, texts);
    if (unpacked.size > MAX_UNPACKED) unpacked.delete(unpacked.keys().next().value);
    return texts;
  }
  async function unpack(base64) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  }

  const dialog = byId("sample");
  async function open(entry) {
    state.open = entry;
    const index = state.rows.indexOf(entry);
    byId("sample-title").textContent = `${entry.name}[${entry.variant}], sample ${entry.sample}: ${data.kinds[entry.kind]}`;
    byId("sample-before").disabled = index <= 0;
    byId("sample-after").disabled = index < 0 || index >= state.rows.length - 1;
    byId("sample-body").replaceChildren();
    if (!dialog.open) dialog.showModal();
    let content;
    try {
      content = view(entry, await textsOf(entry.question));
    } catch (error) {
      content = [element("p", {}, `This sample can't be shown: ${error.message}`)];
    }
    if (state.open !== entry) return; // another sample was opened meanwhile
    byId("sample-body").replaceChildren(...content);
    byId("sample-body").scrollTop = 0;
    for (const mark of document.querySelectorAll(".source pre:last-child .fault, .source pre:last-child .divergence")) {
      const box = mark.closest(".source");
      if (!box.scrollTop) box.scrollTop = mark.offsetTop - box.offsetTop - box.clientHeight / 3;
    }
  }
  function move(step) {
    const next = state.rows[state.rows.indexOf(state.open) + step];
    if (next) open(next);
  }
  byId("sample-before").addEventListener("click", () => move(-1));
  byId("sample-after").addEventListener("click", () => move(1));
  byId("sample-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { state.open = null; });

  function view(entry, text) {
    const sample = text.samples.find((other) => other.sample === entry.sample);
    const answer = text.answers[sample.answer];
    const { detail } = sample;
    const parts = [];
    if (entry.message) parts.push(element("p", {}, entry.message));
    if (detail.input) parts.push(element("h3", {}, "Input"), box(detail.input.join("\n"), "The input", true));
    if (detail.differences) parts.push(element("h3", {}, "Expected and observed"), differences(detail.differences));
    const notes = labelledEvidence(detail);
    if (notes.length) parts.push(terms(notes));
    parts.push(element("h3", {}, "Assembly"), ...panels(answer, text.reference, detail));
    if (text.reference && answer.blocks && text.reference.blocks) {
      parts.push(collapsed("Disassembly, aligned by basic block", () => diff(answer.blocks, text.reference.blocks, detail.line)));
    }
    parts.push(collapsed("Prompt", () => box(text.prompt, "The prompt", true)), collapsed("Answer as it came", () => box(answer.text, "The answer", true)));
    parts.push(element("h3", {}, "More"), terms(facts(entry, sample)));
    return parts;
  }

  // The lines of evidence that begin with a label, as pairs of label and text. The input and the table of differences are
  // left out: the view shows them by themselves.
  function labelledEvidence(detail) {
    const lines = detail.evidence || [];
    const table = lines.findIndex((line) => /^ +expected +observed$/.test(line));
    const rest = table < 0 ? lines : [...lines.slice(0, table), ...lines.slice(table + 1 + (detail.differences || []).length)];
    const matches = rest.map((line) => /^ {2}([a-z]+) +(\S[^]*)$/.exec(line));
    return matches.filter((match) => match && match[1] !== "input").map(([, label, text]) => [label, text]);
  }

  function facts(entry, sample) {
    const { detail } = sample;
    const dropped = Object.entries(detail.dropped || {}).map(([why, count]) => `${count} × ${why}`).join(", ");
    const known = {
      "item": `${entry.file}::${entry.name}[${entry.variant}]`,
      "ended by": sample.stop, "seed": sample.seed, "tokens of the prompt": entry.prompt, "tokens of the answer": entry.answer, "seconds": entry.seconds,
      ...measures(detail),
      "IR instructions": detail.instructions, "assembled by": detail.assembler, "because": detail.fallback,
      "inputs": detail.inputs, "inputs dropped": dropped,
      "seeded faults that the inputs show": detail.adequacy && `${detail.adequacy.killed} of ${detail.adequacy.mutants}`,
      "tests that came with the case": detail.published && [detail.published.holds ? "hold" : "fail", detail.published.message].filter(Boolean).join(": "),
      ...costs(detail.cost),
      "warning": detail.warning,
    };
    return Object.entries(known).filter(([, value]) => value !== null && value !== undefined && value !== "");
  }

  // What an answer that passes costs, beside clang's code at each level.
  function costs(cost) {
    if (!cost) return {};
    const beside = (fact) => {
      const levels = Object.entries(cost.references || {}).map(([level, other]) => `-${level} ${other[fact]?.toLocaleString("en")}`);
      return `${cost[fact]?.toLocaleString("en")}${levels.length ? ` (clang ${levels.join(", ")})` : ""}`;
    };
    return { "instructions executed on all inputs": beside("instructions"), "bytes of code": beside("bytes") };
  }

  // What is measured beside the verdict; `record.schema.json` describes the fields.
  function measures({ promised, ir, round_trip: trip, tune }) {
    const yes = (value) => (value === undefined ? undefined : value ? "yes" : "no");
    const formatClaim = (claim, unit) => claim && `${claim.said}${unit}, is ${claim.is === null ? "unknown" : claim.is}`;
    return {
      "claimed instruction count": formatClaim(promised?.instructions, ""), "claimed binary size": formatClaim(promised?.size, " bytes"),
      "opt's own IR": yes(ir?.exact), "the same but for names": yes(ir?.canonical),
      "IR instructions of the answer": ir && `${ir.instructions}${ir.opt_instructions === undefined ? "" : `, opt's: ${ir.opt_instructions}`}`,
      "the same assembly again": yes(trip?.exact), "BLEU": trip?.bleu,
      "pass list": tune?.passes, "binary size": tune && `${tune.size} bytes, ${tune.oz} with -Oz: ${tune.improvement} percent less`,
    };
  }

  function terms(pairs) {
    return element("dl", { class: "terms" }, ...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
  }

  function box(text, label, wraps) {
    return element("div", { class: "box", tabindex: "0", role: "region", "aria-label": label }, element("pre", wraps ? { class: "wraps" } : {}, text));
  }

  // A section whose content is built when the reader first opens it.
  function collapsed(title, content) {
    const details = element("details", {}, element("summary", {}, title));
    details.addEventListener("toggle", () => { if (details.open && details.childElementCount === 1) details.append(content()); });
    return details;
  }

  function differences(rows) {
    const head = element("thead", {}, element("tr", {}, ...["where", "expected", "observed"].map((title) => element("th", { scope: "col" }, title))));
    const body = element("tbody", {}, ...rows.map(([where, ...values]) => element("tr", {}, element("th", { scope: "row" }, where), ...values.map((value) => element("td", {}, value)))));
    return element("table", { class: "plain differences" }, head, body);
  }

  // -- the answer's assembly beside the reference's

  function panels(answer, reference, detail) {
    const marks = new Map();
    if (detail.parts) marks.set(detail.parts, ["divergence", "the run diverges from the reference here"]);
    if (detail.line) marks.set(detail.line, ["fault", "the run fails here"]);
    const sources = [source(answer.lowered ? "Assembly that LLVM makes of the answer" : "Answer", answer.lowered || answer.text, marks)];
    if (reference) sources.push(source(`Reference: clang -${reference.passes}`, reference.text, new Map()));
    const legend = [...marks].sort(([a], [b]) => a - b).map(([line, [name, words]]) => element("span", {}, element("span", { class: `patch ${name}` }), `line ${line}: ${words}`));
    return [...(legend.length ? [element("p", { class: "marks" }, ...legend)] : []), element("div", { class: "panels" }, ...sources)];
  }

  function source(title, text, marks) {
    const lines = text.replace(/\r\n/g, "\n").replace(/\n$/, "").split("\n");
    const numbers = element("pre", { "aria-hidden": "true" });
    const code = element("pre");
    const put = (from, to, name, label) => {
      if (from >= to) return;
      const numbered = lines.slice(from, to).map((_, index) => from + index + 1).join("\n");
      numbers.append(element("span", { class: name }, numbered));
      code.append(element(name ? "mark" : "span", { class: name, ...(label ? { title: label } : {}) }, lines.slice(from, to).join("\n") || " "));
    };
    let next = 0;
    for (const [line, [name, label]] of [...marks].sort(([a], [b]) => a - b)) {
      put(next, line - 1, "");
      put(line - 1, line, name, label);
      next = line;
    }
    put(next, lines.length, "");
    const scrolls = element("div", { class: "box source", tabindex: "0", role: "region", "aria-label": title }, numbers, code);
    return element("figure", {}, element("figcaption", {}, title), scrolls);
  }

  // -- the disassemblies, block by block

  // The pairs of indices of a best alignment of two sequences (Needleman and Wunsch, J. Mol. Biol. 48, 1970); null is a gap.
  // `best[i][j]` is the best total score of the sequences from i and from j on.
  function align(first, second, score) {
    const width = second.length + 1;
    const best = new Float64Array((first.length + 1) * width);
    for (let i = first.length - 1; i >= 0; i--) {
      for (let j = second.length - 1; j >= 0; j--) {
        best[i * width + j] = Math.max(best[(i + 1) * width + j], best[i * width + j + 1], best[(i + 1) * width + j + 1] + score(first[i], second[j]));
      }
    }
    const pairs = [];
    let i = 0;
    let j = 0;
    while (i < first.length || j < second.length) {
      const here = best[i * width + j];
      const both = i < first.length && j < second.length ? score(first[i], second[j]) : 0;
      if (both > 0 && here === best[(i + 1) * width + j + 1] + both) pairs.push([i++, j++]);
      else if (i < first.length && here === best[(i + 1) * width + j]) pairs.push([i++, null]);
      else pairs.push([null, j++]);
    }
    return pairs;
  }

  // An instruction without the number of the block that it jumps to.
  const bare = (words) => words.replace(/(^j\w+ |^loop\w* )\.\d+$/, "$1.");

  // The similarity of two blocks: how many instructions and mnemonics they share, if these are 30 % of both or more.
  function blockSimilarity(first, second) {
    let common = 0;
    for (const [words, count] of first.counts) common += Math.min(count, second.counts.get(words) || 0);
    return common >= 0.3 * (first.size + second.size) ? common : 0;
  }

  function counted(block) {
    const counts = new Map();
    for (const [, words] of block) {
      for (const key of [bare(words), words.split(" ")[0] + "*"]) counts.set(key, (counts.get(key) || 0) + 1);
    }
    return { counts, size: block.length };
  }

  // The similarity of two instructions.
  const instructionSimilarity = (first, second) => (first === second ? 1 : first.split(" ")[0] === second.split(" ")[0] ? 0.4 : 0);

  function diff(mine, theirs, fault) {
    const blocks = align(mine.map(counted), theirs.map(counted), blockSimilarity);
    const places = new Map(blocks.filter(([a, b]) => a !== null && b !== null).map(([a, b]) => [a + 1, b + 1]));
    // A jump is the same if its target is the block that is aligned with the other jump's target.
    const seen = (words) => words.replace(/(^j\w+ |^loop\w* )\.(\d+)$/, (all, jump, block) => `${jump}${places.has(+block) ? places.get(+block) : "new"}`);
    const plain = (words) => words.replace(/(^j\w+ |^loop\w* )\.(\d+)$/, "$1$2");
    const body = element("tbody");
    let changed = 0;
    for (const [a, b] of blocks) {
      const title = a === null ? `only in the reference: .${b + 1}` : b === null ? `only in the answer: .${a + 1}` : `.${a + 1} beside .${b + 1}`;
      body.append(element("tr", { class: "block" }, element("th", { colspan: "5", scope: "rowgroup" }, title)));
      const left = a === null ? [] : mine[a];
      const right = b === null ? [] : theirs[b];
      const pairs = align(left.map(([, words]) => seen(words)), right.map(([, words]) => plain(words)), instructionSimilarity);
      for (const [x, y] of pairChanges(pairs)) {
        const same = x !== null && y !== null && seen(left[x][1]) === plain(right[y][1]);
        if (!same) changed += 1;
        body.append(row(x === null ? null : left[x], y === null ? null : right[y], same, fault));
      }
    }
    const titles = ["line", "answer", "≠", "line", "reference"].map((title) => element("th", { scope: "col" }, title));
    const table = element("table", { class: "diff" }, element("thead", {}, element("tr", {}, ...titles)), body);
    const words = changed ? `${changed} of ${body.querySelectorAll("tr:not(.block)").length} lines differ.` : "Both are the same.";
    return element("div", {}, element("p", { class: "about" }, words), element("div", { class: "box tall", tabindex: "0", role: "region", "aria-label": "Disassembly" }, table));
  }

  // Puts lines that only the left has beside lines that only the right has, as changed lines.
  function pairChanges(pairs) {
    const rows = [];
    let lefts = [];
    let rights = [];
    const flush = () => {
      for (let at = 0; at < Math.max(lefts.length, rights.length); at++) rows.push([lefts[at] ?? null, rights[at] ?? null]);
      lefts = [];
      rights = [];
    };
    for (const [x, y] of pairs) {
      if (y === null) lefts.push(x);
      else if (x === null) rights.push(y);
      else { flush(); rows.push([x, y]); }
    }
    flush();
    return rows;
  }

  function row(left, right, same, fault) {
    const sign = same ? "" : left && right ? "≠" : left ? "+" : "−";
    const title = same ? "" : left && right ? "differs" : left ? "only in the answer" : "only in the reference";
    return element("tr", { class: same ? "same" : "" },
      element("td", { class: left && left[0] === fault ? "no fault" : "no" }, left ? String(left[0]) : ""), element("td", !same && left ? { class: "mine" } : {}, left ? left[1] : ""),
      element("td", { title }, sign),
      element("td", { class: "no" }, right ? String(right[0]) : ""), element("td", !same && right ? { class: "theirs" } : {}, right ? right[1] : ""));
  }

  show();
})();
