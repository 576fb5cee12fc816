// What the page does: takes a row, has the local client ask the service, and shows what went where.

import { Pad, evenly, pixels } from "/drawing.js";

const page = JSON.parse(document.getElementById("page").textContent);
const find = (id) => document.getElementById(id);
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// Bytes that are shown as digits: those after the head of a message, which is the same in all.
const [FIRST_SHOWN, LAST_SHOWN] = [256, 304];
let lastRow = null, lastRequest = "", asked = 0;

/** Ask about a row, and show all of it. */
async function ask(row) {
  const mine = ++asked;
  find("result").setAttribute("aria-busy", "true");
  forget();
  try {
    const response = await fetch("/answer", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Page-Token": page.token },
      body: JSON.stringify({ row }),
    });
    const said = await response.json();
    if (mine !== asked) return; // a later row was asked about
    if (response.ok) show(said, row);
    else complain(said);
  } catch {
    complain({ message: "The local client doesn't answer: was it ended?" });
  } finally {
    if (mine === asked) find("result").removeAttribute("aria-busy");
  }
}

function show(said, row) {
  find("answer").textContent = [said.answer].flat().map(readable).join(", ");
  // Of a drawing they would be about single pixels.
  fill(find("notes"), page.drawing ? [] : said.notes.map((note) => made("li", note)));
  fill(find("bars"), (said.probabilities ?? []).flatMap(bar));
  showMessage("up", said.request);
  showMessage("down", said.reply);
  showAnew(row, said.request.beginning);
  showLog(said);
  for (const [name, value] of Object.entries(said.milliseconds)) {
    find(`ms-${name}`).textContent = `${value.toPrecision(3)} ms`;
  }
  showSame(said);
}

function bar({ label, probability }) {
  const progress = document.createElement("progress");
  progress.max = 1;
  progress.value = probability ?? 0;
  progress.setAttribute("aria-label", `probability of ${label}`);
  const share = probability === null ? "–" : `${(100 * probability).toFixed(1)} %`;
  return [made("span", label, "label"), progress, made("span", share)];
}

function showMessage(name, { bytes, beginning }) {
  find(`${name}-bytes`).textContent = amount(bytes);
  const shown = beginning.slice(2 * FIRST_SHOWN, 2 * LAST_SHOWN).match(/../g) ?? [];
  find(`${name}-hex`).textContent = `… ${shown.join(" ")} …`;
  paintBytes(find(`${name}-strip`), beginning, "--wire");
}

// Paint bytes after the head of a message, one in each pixel: the larger, the darker.
function paintBytes(canvas, hexadecimal, colour) {
  const context = canvas.getContext("2d"), { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  context.fillStyle = colourOf(colour);
  bytesOf(hexadecimal.slice(2 * FIRST_SHOWN)).slice(0, width * height).forEach((byte, index) => {
    context.globalAlpha = byte / 255;
    context.fillRect(index % width, Math.floor(index / width), 1, 1);
  });
}

function showAnew(row, beginning) {
  const isSame = JSON.stringify(row) === JSON.stringify(lastRow);
  const [before, now] = [lastRequest, beginning].map((one) => bytesOf(one.slice(2 * FIRST_SHOWN)));
  const others = now.filter((byte, index) => byte !== before[index]).length;
  const share = ((100 * others) / now.length).toFixed(1);
  find("anew").textContent = isSame
    ? `The same row as before, and ${share} % of the bytes shown are others: each encryption is fresh.`
    : "";
  [lastRow, lastRequest] = [row, beginning];
}

function showLog({ request, reply }) {
  find("nothing")?.remove();
  const line = document.createElement("tr");
  line.append(
    made("td", new Date().toLocaleTimeString("en-GB")),
    made("td", amount(request.bytes), "number"),
    made("td", amount(reply.bytes), "number"),
    unreadable(request),
    unreadable(reply),
  );
  const body = find("log").tBodies[0];
  body.prepend(line);
  while (body.rows.length > 5) body.lastElementChild.remove();
}

function unreadable({ beginning }) {
  const cell = made("td", ""), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [28, 9];
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "bytes that it can't read");
  cell.append(canvas);
  paintBytes(canvas, beginning, "--server");
  return cell;
}

function showSame({ same_integers: sameIntegers, same_answer: sameAnswer }) {
  find("same").textContent = sameAnswer ? "same answer" : "another answer";
  find("same-text").textContent = sameIntegers
    ? "Every decrypted integer is the one that is computed in clear."
    : "Decrypted integers differ from those in clear, as lookups err at times.";
}

function complain({ message, feature, allowed }) {
  const index = feature === undefined ? -1 : page.names.indexOf(feature);
  const input = find(`field-${index}`);
  if (!input) {
    find("problem").textContent = message;
    return;
  }
  input.setAttribute("aria-invalid", "true");
  find(`error-${index}`).textContent = `must be ${allowed}`;
  input.focus();
}

function forget() {
  find("problem").textContent = "";
  for (const input of document.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  for (const text of document.querySelectorAll(".field .wrong")) text.textContent = "";
}

function startForm() {
  find("form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask(page.choices.map((choices, index) => {
      const { value } = find(`field-${index}`);
      if (value.trim() === "") return null;
      return choices === null ? value : choices[Number(value)];
    }));
  });
  find("form").addEventListener("reset", forget);
}

function startDrawing({ side, paper, ink }) {
  const pad = new Pad(find("pad"), () => colourOf("--client"), drawn);
  const colours = matchMedia("(prefers-color-scheme: dark)");
  let row = null, waiting = 0, again = () => {};

  function take(grey, repaint) {
    row = grey.map((one) => paper + one * (ink - paper));
    again = repaint;
    find("hint").hidden = true;
    find("ask").disabled = false;
    repaint();
    paint(find("seen"), grey);
  }

  function drawn(isOver) {
    clearTimeout(waiting);
    const grey = pixels(pad.strokes, side);
    take(grey, () => { pad.show(); paint(find("seen"), grey); });
    if (isOver && page.quick) waiting = setTimeout(() => ask(row), 500);
  }

  function takeSample(grey, strokes) {
    clearTimeout(waiting);
    pad.clear();
    take(grey, () => {
      if (strokes) pad.show(strokes.map(evenly));
      else paint(find("pad"), grey);
      paint(find("seen"), grey);
    });
    ask(row);
  }

  const greyOf = (value) => (value - paper) / (ink - paper);
  for (const { name, row: values, strokes } of page.samples) {
    const grey = strokes ? pixels(strokes, side) : values.map(greyOf);
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `sample: ${name}`);
    const picture = document.createElement("canvas");
    picture.width = picture.height = side;
    button.append(picture);
    button.addEventListener("click", () => takeSample(grey, strokes));
    find("samples").append(button);
    paint(picture, grey);
    colours.addEventListener("change", () => paint(picture, grey));
  }

  find("ask").addEventListener("click", () => { clearTimeout(waiting); ask(row); });
  find("clear").addEventListener("click", () => {
    clearTimeout(waiting);
    pad.clear();
    row = null;
    again = () => {};
    paint(find("seen"), pixels([], side));
    find("hint").hidden = false;
    find("ask").disabled = true;
    asked++; // what is on its way is not wanted
    find("answer").textContent = "–";
    fill(find("bars"), []);
    forget();
  });
  colours.addEventListener("change", () => again());
}

// Paint pixels of ink over a whole canvas.
function paint(canvas, grey) {
  const side = Math.sqrt(grey.length), step = canvas.width / side;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.width);
  context.fillStyle = colourOf("--client");
  grey.forEach((ink, index) => {
    context.globalAlpha = Math.min(Math.max(ink, 0), 1);
    context.fillRect((index % side) * step, Math.floor(index / side) * step, step, step);
  });
  context.globalAlpha = 1;
}

function amount(bytes) {
  return bytes < 1000 ? `${bytes} bytes` : `${(bytes / 1000).toPrecision(3)} kB`;
}

function bytesOf(hexadecimal) {
  return (hexadecimal.match(/../g) ?? []).map((two) => parseInt(two, 16));
}

function readable(answer) {
  return typeof answer === "number" ? answer.toPrecision(5) : answer;
}

function made(tag, text, name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  return element;
}

function fill(element, children) {
  element.replaceChildren(...children);
}

if (page.drawing) startDrawing(page.drawing);
else startForm();
