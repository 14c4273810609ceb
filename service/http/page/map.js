// The map of all notes. The library embedding-atlas draws it (WebGPU or WebGL 2); it is loaded when the map is opened.

import { call, notePath } from "./api.js";
import { byId, make, percent, show, written } from "./dom.js";
import { noteLink } from "./notes.js";
import { showProblem } from "./problems.js";

const POLL_MILLISECONDS = 1000;
const REACH = 12; // pixels around the pointer in which a point counts as meant
const NEAREST = 10;
const LINE = 18; // pixels between the names of regions
const MARGIN = 0.9; // of the canvas is for points
const SMALLEST = 0.01; // a map of one note has no width
const dark = window.matchMedia("(prefers-color-scheme: dark)");
let view = null, points = null, timer = null, drawn = null, open = false, beside = null, next = null, chosen = null;

export function openMap() {
  dark.addEventListener("change", () => view?.update({ config: config() }));
  window.addEventListener("resize", () => { if (open) view?.update(size()); });
}

/** A link to the map, on which a note and its neighbours are lit. A note that is not stored stands amid its neighbours. */
export const mapLink = (note, neighbours) =>
  make("a", { href: "#/map", on: { click: () => { next = { note, neighbours }; } } }, "Show them on the map");

export function hideMap() {
  open = false;
  clearTimeout(timer);
}

export async function showMap(again = false) {
  open = true;
  clearTimeout(timer);
  const place = byId("map-result");
  try {
    const status = await call("POST", "admin/map", { again });
    if (!open) return;
    if (status.drawn_at !== null) await load(place, status);
    else if (status.state === "failed") { forget(); show(place, failure(status), redraw()); }
    else waiting(place, status);
    if (open && status.state === "drawing") timer = setTimeout(showMap, POLL_MILLISECONDS);
  } catch (error) {
    if (!open) return;
    forget();
    showProblem(place, error, () => showMap());
  }
}

/** What is shown now is no map, so that the next one is made from the start. */
function forget() {
  view?.destroy();
  view = null;
  drawn = null;
  beside = null;
}

const failure = (status) => make("p", { class: "notice", role: "alert" }, `A new map cannot be drawn: ${status.error}`);

function waiting(place, status) {
  forget();
  const part = status.progress > 0.15 ? { value: status.progress, max: 1 } : {};
  show(place, make("p", {}, make("label", { for: "map-progress" }, "The service draws the map. This takes a minute or more. The map then stays until enough notes have changed.")),
    make("progress", { id: "map-progress", class: "wide", ...part }));
}

const redraw = () => make("button", { type: "button", class: "plain", on: { click: () => showMap(true) } }, "Draw a new map");

async function load(place, status) {
  if (drawn === status.drawn_at) {
    show(byId("map-counts"), counts(status));
    view?.update(size()); // the window may have changed while another view was open
    lightNext();
    return;
  }
  const sheet = await call("GET", "admin/map/points");
  if (!open) return;
  forget();
  points = { ...sheet, x: floats(sheet.x), y: floats(sheet.y), category: bytes(sheet.category) };
  const below = [make("div", { id: "map-counts", class: "quiet" }, counts(status)), redraw()];
  if (!points.ids.length) { show(place, make("p", {}, "No note is stored yet, so there is nothing to draw."), below); drawn = status.drawn_at; return; }
  beside = make("div", { "aria-live": "polite" });
  const canvas = make("div", { id: "map-canvas", role: "img", "aria-label": `Map of ${points.ids.length} notes.` });
  const colours = palette(points.categories.length);
  show(place, legend(points.categories, colours), canvas, beside, regions(points), below);
  try {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("it has no WebGL 2");
    const { EmbeddingView } = await import("./vendor/embedding-atlas/embedding-view.js");
    if (!open || !canvas.isConnected) return; // a hidden view has no size
    view = new EmbeddingView(canvas, {
      data: { x: points.x, y: points.y, category: points.category }, categoryColors: colours, viewportState: whole(), ...size(),
      config: config(), theme: { statusBar: false, brandingLink: null, fontFamily: "system-ui, sans-serif" },
      querySelection: async (x, y, unit) => nearest(x, y, REACH * unit),
      customTooltip: { class: Tip, props: {} },
      customOverlay: { class: Names, props: { regions: points.regions } },
      onSelection: (selected) => { if (selected?.length && selected[0].identifier) select(selected[0].identifier); },
    });
  } catch (error) {
    show(canvas, make("p", { class: "notice" }, `This browser cannot draw the map: ${error.message}.`));
  }
  drawn = status.drawn_at;
  lightNext();
}

const config = () => ({ mode: "points", colorScheme: dark.matches ? "dark" : "light", autoLabelEnabled: false });

/** The viewport that shows all points: the longer side of the canvas is two units of 1 / scale. */
function whole() {
  const { width, height } = size(), longer = Math.max(width, height);
  const [left, right] = ends(points.x), [bottom, top] = ends(points.y);
  const scale = MARGIN * 2 * Math.min(width / longer / Math.max(right - left, SMALLEST), height / longer / Math.max(top - bottom, SMALLEST));
  return { x: (left + right) / 2, y: (bottom + top) / 2, scale };
}

const ends = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

const size = () => { const box = byId("map-canvas").getBoundingClientRect(); return { width: box.width, height: box.height }; };
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);

/** Hues that are far apart, as bright as is readable on both backgrounds. */
const palette = (count) => Array.from({ length: count }, (_, place) => hex((place * 137.5 + 215) % 360, 0.6, 0.5));

function hex(hue, saturation, lightness) {
  const part = (offset) => {
    const k = (offset + hue / 30) % 12;
    const value = lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

const legend = (names, colours) => make("ul", { class: "legend", "aria-label": "Categories" }, names.map((name, place) => {
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg"), circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  dot.setAttribute("viewBox", "0 0 10 10");
  dot.setAttribute("aria-hidden", "true");
  for (const [key, value] of Object.entries({ cx: 5, cy: 5, r: 5, fill: colours[place] })) circle.setAttribute(key, value);
  dot.append(circle);
  return make("li", {}, dot, written(name));
}));

const counts = (status) => [
  make("p", {}, status.shown < status.total
    ? `A sample of ${status.shown.toLocaleString("en")} of ${status.total.toLocaleString("en")} notes.` : `${status.total.toLocaleString("en")} notes.`,
  status.state === "drawing" ? ` A new map is being drawn: ${percent(status.progress)}.` : ""),
  status.state === "failed" ? failure(status) : null,
];

const pointOf = (place) => ({
  x: points.x[place], y: points.y[place], category: points.category[place], text: points.titles[place], identifier: points.ids[place],
});

/** The places of the points around a position, nearest first. */
function around(x, y, count, reach = Infinity) {
  const found = [];
  for (let place = 0; place < points.ids.length; place += 1) {
    const distance = Math.hypot(points.x[place] - x, points.y[place] - y);
    if (distance > reach || (found.length === count && distance >= found.at(-1)[0])) continue;
    found.push([distance, place]);
    found.sort((one, other) => one[0] - other[0]);
    found.length = Math.min(found.length, count);
  }
  return found.map(([, place]) => place);
}

function nearest(x, y, reach) {
  const [place] = around(x, y, 1, reach);
  return place === undefined ? null : pointOf(place);
}

/** Lights a note and its neighbours. */
async function select(id) {
  chosen = id;
  show(beside, make("progress", { "aria-label": "Looking for neighbours" }));
  try {
    const found = await call("GET", `${notePath(id)}/similar?limit=${NEAREST}`);
    if (chosen === id) light({ id, title: points.titles[points.ids.indexOf(id)], content: "" }, found.neighbours);
  } catch (error) {
    if (chosen === id) showProblem(beside, error, () => select(id));
  }
}

function lightNext() {
  if (!beside) return; // no note is on the map yet
  if (next) light(next.note, next.neighbours);
  next = null;
}

function light(note, neighbours) {
  const known = neighbours.map((one) => points.ids.indexOf(one.id)).filter((place) => place >= 0).map(pointOf);
  const own = note.id === undefined ? -1 : points.ids.indexOf(note.id);
  const point = own >= 0 ? pointOf(own) : amid(note, known);
  view?.update({ selection: point ? [point, ...known] : known, tooltip: null });
  show(beside, make("h3", {}, note.id === undefined ? written(note.title || note.content) : noteLink(note)),
    make("p", {}, known.length ? "It and its neighbours are lit:" : "Its neighbours are not on the map. They may be newer than it."),
    make("ol", {}, neighbours.map((one) => make("li", {}, noteLink(one), make("span", { class: "quiet score" }, ` ${one.score.toFixed(3)}`)))));
}

/** Where a note that is not on the map would stand: in the middle of its neighbours. */
function amid(note, known) {
  if (!known.length) return null;
  const mean = (name) => known.reduce((sum, point) => sum + point[name], 0) / known.length;
  return { x: mean("x"), y: mean("y"), text: note.title || note.content, identifier: "" };
}

/** The map for those who cannot see or point: its regions, each with the notes around its middle. */
function regions(sheet) {
  const list = make("div", {});
  const choose = make("select", { id: "map-region" }, make("option", { value: "" }, "choose one"), sheet.regions.map((region, place) =>
    make("option", { value: place }, `${region.name} (${region.notes.toLocaleString("en")} notes)`)));
  choose.addEventListener("change", () => {
    const region = sheet.regions[choose.value];
    show(list, region ? make("ul", {}, around(region.x, region.y, NEAREST).map((place) =>
      make("li", {}, noteLink({ id: points.ids[place], title: points.titles[place], content: "" })))) : null);
  });
  return sheet.regions.length ? make("div", {}, make("label", { for: "map-region" }, "Regions of the map as a list"), choose, list) : null;
}

class Tip {
  constructor(target, properties) { this.target = target; this.update(properties); }

  update(properties) {
    if (properties.tooltip) show(this.target, written(properties.tooltip.text, "div", { class: "map-tip" }));
  }

  destroy() { this.target.replaceChildren(); }
}

/** The names of the regions over the points, the largest ones first; one that would lie on another is left out. */
class Names {
  constructor(target, properties) {
    this.target = target;
    this.target.setAttribute("aria-hidden", "true");
    this.names = properties.regions.map((region) => written(region.name, "span", { class: "map-name" }));
    show(target, this.names);
    this.regions = properties.regions;
    this.update(properties);
  }

  update({ proxy }) {
    const taken = [];
    this.regions.forEach((region, place) => {
      const name = this.names[place], { x, y } = proxy.location(region.x, region.y);
      const half = name.offsetWidth / 2, box = [x - half, y - LINE / 2, x + half, y + LINE / 2];
      const free = !taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]);
      name.style.visibility = free ? "visible" : "hidden";
      name.style.left = `${box[0]}px`;
      name.style.top = `${box[1]}px`;
      if (free) taken.push(box);
    });
  }

  destroy() { this.target.replaceChildren(); }
}
