// Strokes of a person's hand, and the pixels that a model is given of them.

// Pixels of the fine picture for each one of the model's.
const FINE = 8;

/** A canvas that is drawn on with a mouse, a finger or a pen. */
export class Pad {
  constructor(canvas, colour, changed) {
    this.canvas = canvas;
    this.colour = colour;
    this.changed = changed;
    this.strokes = [];
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.end(event));
    }
  }

  clear() {
    this.strokes = [];
    this.show();
  }

  /** Show strokes, which are lists of points [x, y] between 0 and 1. */
  show(strokes = this.strokes) {
    this.strokes = strokes;
    const { width } = this.canvas;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, width);
    context.strokeStyle = this.colour();
    trace(context, strokes.map((stroke) => stroke.map(([x, y]) => [x * width, y * width])), width / 14);
  }

  begin(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push([this.point(event)]);
    this.isDrawing = true;
    this.show();
    this.changed(false);
  }

  go(event) {
    if (!this.isDrawing || !event.isPrimary) return;
    const all = event.getCoalescedEvents?.() ?? [];
    this.strokes.at(-1).push(...(all.length ? all : [event]).map((one) => this.point(one)));
    this.show();
    this.changed(false);
  }

  end(event) {
    if (!this.isDrawing || !event.isPrimary) return;
    this.isDrawing = false;
    this.changed(true);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }
}

/** Return the ink of each pixel, between 0 and 1, as pictures of this size are made for training. */
export function pixels(strokes, side) {
  if (!strokes.length) return new Array(side * side).fill(0);
  return side === 8 ? asOptdigits(strokes.map(evenly)) : asMnist(strokes.map(evenly), side);
}

// The digits of scikit-learn: as high as the picture, upright, at most three quarters as wide.
function asOptdigits(strokes) {
  const side = 8, size = side * FINE, width = size * 0.115;
  const upright = deskewed(strokes);
  const box = bounds(upright);
  const [inkWidth, inkHeight] = [box.width, box.height].map((one) => Math.max(one, 1e-6));
  const room = size - width;
  const scaleY = Math.min(room / inkHeight, (3 * room) / inkWidth);
  const wanted = Math.min(Math.max(inkWidth * scaleY, size * 0.3 - width), size * 0.75 - width);
  const scaleX = inkWidth * scaleY < size * 0.12 ? scaleY : wanted / inkWidth;
  return inked(placed(upright, box, scaleX, scaleY, size), side, width);
}

// MNIST: within a box of 20 of 28 pixels, the centre of mass in the middle.
function asMnist(strokes, side) {
  const size = side * FINE, width = size * 0.085;
  const box = bounds(strokes);
  const scale = (size * (20 / 28) - width) / Math.max(box.width, box.height, 1e-6);
  let moved = placed(strokes, box, scale, scale, size);
  const first = inked(moved, side, width);
  let mass = 0, x = 0, y = 0;
  first.forEach((ink, index) => {
    mass += ink;
    x += ink * ((index % side) + 0.5);
    y += ink * (Math.floor(index / side) + 0.5);
  });
  const [dx, dy] = [size / 2 - (x / mass) * FINE, size / 2 - (y / mass) * FINE];
  moved = moved.map((stroke) => stroke.map(([a, b]) => [a + dx, b + dy]));
  return inked(moved, side, width);
}

function bounds(strokes) {
  const xs = strokes.flat().map(([x]) => x), ys = strokes.flat().map(([, y]) => y);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  return { x: (left + right) / 2, y: (top + bottom) / 2, width: right - left, height: bottom - top };
}

function placed(strokes, box, scaleX, scaleY, size) {
  return strokes.map((stroke) =>
    stroke.map(([x, y]) => [size / 2 + (x - box.x) * scaleX, size / 2 + (y - box.y) * scaleY]),
  );
}

// Shear strokes so that what leans stands: by moments of their points, which lie evenly.
function deskewed(strokes) {
  const points = strokes.flat();
  const n = points.length;
  const x = points.reduce((sum, one) => sum + one[0], 0) / n;
  const y = points.reduce((sum, one) => sum + one[1], 0) / n;
  const cross = points.reduce((sum, one) => sum + (one[0] - x) * (one[1] - y), 0);
  const square = points.reduce((sum, one) => sum + (one[1] - y) ** 2, 0);
  const lean = square > 1e-6 ? Math.min(Math.max(cross / square, -0.6), 0.6) : 0;
  return strokes.map((stroke) => stroke.map(([a, b]) => [a - lean * (b - y), b]));
}

/** Return a stroke with points close to each other, so that its corners stay. */
export function evenly(stroke) {
  const made = [stroke[0]];
  for (let index = 1; index < stroke.length; index++) {
    const [[a, b], [c, d]] = [stroke[index - 1], stroke[index]];
    const steps = Math.max(1, Math.ceil(Math.hypot(c - a, d - b) / 0.01));
    for (let step = 1; step <= steps; step++) {
      made.push([a + ((c - a) * step) / steps, b + ((d - b) * step) / steps]);
    }
  }
  return made;
}

function inked(strokes, side, width) {
  const size = side * FINE;
  const fine = new OffscreenCanvas(size, size).getContext("2d", { willReadFrequently: true });
  trace(fine, strokes, width);
  const { data } = fine.getImageData(0, 0, size, size);
  const ink = new Array(side * side).fill(0);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const pixel = Math.floor(y / FINE) * side + Math.floor(x / FINE);
      ink[pixel] += data[4 * (y * size + x) + 3] / 255 / FINE ** 2;
    }
  }
  return ink;
}

// Draw strokes, each as a curve through the middles between its points.
function trace(context, strokes, width) {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (let index = 1; index < stroke.length - 1; index++) {
      const [[a, b], [c, d]] = [stroke[index], stroke[index + 1]];
      context.quadraticCurveTo(a, b, (a + c) / 2, (b + d) / 2);
    }
    const [x, y] = stroke.at(-1);
    context.lineTo(x + (stroke.length === 1 ? 0.01 : 0), y);
    context.stroke();
  }
}
