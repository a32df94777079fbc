"use strict";
// What all pages of this kind share: pictures with boxes on them, bars that filter, a gallery that fills as one
// scrolls, one entry in a dialog, the keyboard. What is chosen stands in the address behind #, and nowhere else.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const PAGE_OF_CARDS = 48;
const MOST_BARS = 8;
const numbers = new Intl.NumberFormat("en");

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const drawing = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Pictures: made of their text when first shown.

const addresses = new Map();
let contents = null;

function addressOf(number) {
  contents ??= JSON.parse(byId("pictures").textContent);
  if (!addresses.has(number)) {
    const bytes = Uint8Array.from(atob(contents[number]), (letter) => letter.charCodeAt(0));
    addresses.set(number, URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })));
  }
  return addresses.get(number);
}

// A square around a box [x1, y1, x2, y2], inside the picture of [height, width] where that is large enough.
function around(box, [height, width], factor) {
  const longer = Math.max(box[2] - box[0], box[3] - box[1], 8);
  const side = Math.min(longer * factor, Math.max(height, width));
  const from = (low, high, all) =>
    side >= all ? (all - side) / 2 : Math.min(Math.max((low + high - side) / 2, 0), all - side);
  const x = from(box[0], box[2], width), y = from(box[1], box[3], height);
  return [x, y, x + side, y + side];
}

// boxes: {box, kind, title}; kind is the class of its style. A box without area is a location and becomes a cross.
function drawn(picture, region, boxes, label, details = []) {
  const [height, width] = picture.size;
  const [x, y, right, bottom] = region;
  const unit = Math.max(right - x, bottom - y) / 100;
  const images = picture.small === null ? [] : [[picture.small, [0, 0, width, height]], ...details];
  const view = drawing("svg", { viewBox: `${x} ${y} ${right - x} ${bottom - y}`, role: "img", "aria-label": label },
    drawing("rect", { x: 0, y: 0, width, height, class: "frame" }),
    images.map(([number, at]) => drawing("image", {
      href: addressOf(number), x: at[0], y: at[1], width: at[2] - at[0], height: at[3] - at[1],
      preserveAspectRatio: "none",
    })),
    boxes.map(({ box, kind, title }) => outline(box, kind, title, unit)));
  return element("div", { class: "picture" }, view,
    picture.small === null ? element("span", { class: "without" }, picture.words) : null);
}

function outline(box, kind, title, unit) {
  const [x1, y1, x2, y2] = box;
  const isPoint = x2 - x1 <= 0 && y2 - y1 <= 0;
  const line = (style) => isPoint
    ? drawing("path", { class: style, d: `M${x1 - 3 * unit} ${y1}h${6 * unit}M${x1} ${y1 - 3 * unit}v${6 * unit}` })
    : drawing("rect", { class: style, x: x1, y: y1, width: x2 - x1, height: y2 - y1 });
  return drawing("g", { class: `box ${kind}` }, drawing("title", {}, title), line("halo"), line("line"));
}

// Ticks for what is drawn in `sides`, kept from one entry to the next; layers: {style: words}.
const hidden = new Set();

function layersFor(layers, sides, concerned) {
  for (const layer of hidden) sides.classList.add(`hide-${layer}`);
  const tick = (layer) => element("input", {
    type: "checkbox", checked: !hidden.has(layer),
    onchange: (event) => {
      if (event.target.checked) hidden.delete(layer);
      else hidden.add(layer);
      sides.classList.toggle(`hide-${layer}`, !event.target.checked);
    },
  });
  return element("div", { class: "layers", role: "group", "aria-label": "what is drawn" },
    Object.entries(layers).map(([layer, words]) => element("label", {}, tick(layer), swatch(layer), words)),
    element("span", {}, swatch("concerned"), ` ${concerned}`));
}

function swatch(kind) {
  return drawing("svg", { viewBox: "0 0 26 16", "aria-hidden": "true" },
    drawing("g", { class: `box ${kind}` }, drawing("rect", { class: "line", x: 2, y: 2, width: 22, height: 12 })));
}

function overlap(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(one) + area(other) - width * height);
}

// The state: {facets: Map of key → Set of values, order, at}.

// facets: [{key, title, of: entry → value, words: value → text, values and groups in order, group: value → text, isHidden}]
// entries: [{facets: [value …], …}]; card: entry → nodes; view: entry → nodes; name: entry → text
let page, state, found = [], numShown = 0;

function readState() {
  const words = new URLSearchParams(location.hash.slice(1));
  const at = words.get("at");
  return {
    facets: new Map(page.facets.map((facet) => [facet.key, new Set(words.getAll(facet.key))])),
    order: page.orders.some((order) => order.key === words.get("order")) ? words.get("order") : page.orders[0].key,
    at: at !== null && /^\d+$/.test(at) && Number(at) < page.entries.length ? Number(at) : null,
  };
}

function addressWith(changes) {
  const { facets, order, at } = { ...state, ...changes };
  const words = new URLSearchParams();
  for (const [key, values] of facets) for (const value of values) words.append(key, value);
  if (order !== page.orders[0].key) words.set("order", order);
  if (at !== null) words.set("at", at);
  return `#${words}`;
}

function go(changes, { replace = false, opened = false } = {}) {
  const address = addressWith(changes);
  if (replace) history.replaceState(history.state, "", address);
  else history.pushState({ opened }, "", address);
  show();
}

function toggled(key, value) {
  const values = new Set(state.facets.get(key));
  if (!values.delete(value)) values.add(value);
  return new Map([...state.facets, [key, values]]);
}

// What is found: an entry counts in a facet's bars when it passes all the others.

function passing() {
  const chosen = page.facets.map((facet) => state.facets.get(facet.key));
  const counts = page.facets.map(() => new Map());
  const all = [];
  for (const entry of page.entries) {
    const misses = [];
    chosen.forEach((values, place) => {
      if (values.size && !values.has(entry.facets[place])) misses.push(place);
    });
    if (!misses.length) all.push(entry);
    if (misses.length > 1) continue;
    for (const place of misses.length ? misses : counts.keys()) {
      const value = entry.facets[place];
      counts[place].set(value, (counts[place].get(value) ?? 0) + 1);
    }
  }
  const order = page.orders.find((each) => each.key === state.order);
  if (order.by) all.sort((one, other) => order.by(other) - order.by(one) || one.number - other.number);
  return [all, counts];
}

// Bars.

const bars = new Map(); // facet's key → Map of value → {button, count, length}

function buildBars() {
  page.facets.forEach((facet, number) => {
    if (facet.isHidden) return;
    const totals = new Map();
    for (const { facets } of page.entries) totals.set(facets[number], (totals.get(facets[number]) ?? 0) + 1);
    const values = facet.values ?? [...totals.keys()].sort((one, other) => totals.get(other) - totals.get(one));
    const box = element("div", { class: "bars" });
    const mine = new Map();
    bars.set(facet.key, mine);
    const groups = Map.groupBy(values.filter((value) => totals.has(value)), facet.group ?? (() => ""));
    const rank = ([group]) => (facet.groups ?? []).indexOf(group);
    for (const [group, own] of [...groups].sort((one, other) => rank(one) - rank(other))) {
      if (group && groups.size > 1) box.append(element("h4", {}, group));
      box.append(element("ul", {}, own.map((value, place) => {
        const bar = buildBar(facet, value);
        mine.set(value, bar);
        return element("li", { class: place >= MOST_BARS ? "more" : null }, bar.button);
      })));
    }
    byId("facets").append(element("section", { class: "facet", "aria-label": facet.title },
      element("h3", {}, facet.title), box, buildMore(box)));
  });
}

function buildBar(facet, value) {
  const count = element("span", { class: "count" });
  const length = element("span", { class: "fill" });
  const button = element("button", {
    type: "button", class: "bar", onclick: () => go({ facets: toggled(facet.key, value), at: null }),
  }, element("span", { class: "name" }, facet.words(value)), count, element("span", { class: "track" }, length));
  return { button, count, length };
}

function buildMore(box) {
  const folded = box.querySelectorAll(".more").length;
  if (!folded) return null;
  return element("button", {
    type: "button", class: "plain", "aria-expanded": "false",
    onclick: (event) => {
      const isOpen = box.classList.toggle("open");
      event.currentTarget.setAttribute("aria-expanded", isOpen);
      event.currentTarget.textContent = isOpen ? "show fewer" : `show ${folded} more`;
    },
  }, `show ${folded} more`);
}

function showBars(counts) {
  page.facets.forEach((facet, place) => {
    const most = Math.max(1, ...counts[place].values());
    for (const [value, bar] of bars.get(facet.key) ?? []) {
      const count = counts[place].get(value) ?? 0;
      bar.count.textContent = numbers.format(count);
      bar.length.style.width = `${(100 * count) / most}%`;
      bar.button.setAttribute("aria-pressed", state.facets.get(facet.key).has(value));
      bar.button.classList.toggle("none", count === 0);
    }
  });
}

function showChips() {
  const chips = page.facets.flatMap((facet) => [...state.facets.get(facet.key)].map((value) =>
    element("button", {
      type: "button", class: "chip", "aria-label": `no longer only ${facet.title}: ${facet.words(value)}`,
      onclick: () => go({ facets: toggled(facet.key, value), at: null }),
    }, `${facet.words(value)} ×`)));
  if (chips.length) {
    chips.push(element("button", {
      type: "button", class: "plain", onclick: () => go({ facets: new Map(), at: null }),
    }, "show all"));
  }
  byId("chips").replaceChildren(...chips);
}

// The gallery.

function showMore() {
  const next = found.slice(numShown, numShown + PAGE_OF_CARDS);
  byId("gallery").append(...next.map((entry) => element("li", {},
    element("button", {
      type: "button", class: "card", "data-number": entry.number, "aria-haspopup": "dialog",
      onclick: () => go({ at: entry.number }, { opened: true }),
    }, page.card(entry)))));
  numShown += next.length;
  byId("more").hidden = numShown >= found.length;
  byId("more").textContent = `show more (${numbers.format(found.length - numShown)} left)`;
}

let shownFor = null;

function show() {
  state = readState();
  const key = addressWith({ at: null });
  if (key !== shownFor) {
    shownFor = key;
    let counts;
    [found, counts] = passing();
    showBars(counts);
    showChips();
    byId("order").value = state.order;
    byId("found").textContent = found.length === page.entries.length
      ? `all ${numbers.format(found.length)}` : `${numbers.format(found.length)} of ${numbers.format(page.entries.length)}`;
    byId("gallery").replaceChildren();
    numShown = 0;
    byId("nothing").hidden = found.length > 0;
    showMore();
  }
  showEntry();
}

// One entry.

function showEntry() {
  const dialog = byId("viewer");
  if (state.at === null) {
    if (dialog.open) dialog.close();
    return;
  }
  const entry = page.entries[state.at];
  const place = found.indexOf(entry);
  const words = place < 0 ? "not among those chosen" : `${numbers.format(place + 1)} of ${numbers.format(found.length)}`;
  byId("place").textContent = words;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place + 1 >= found.length;
  byId("view-title").textContent = page.name(entry);
  byId("view").replaceChildren(...[page.view(entry)].flat());
  dialog.scrollTop = 0;
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const place = found.indexOf(page.entries[state.at]);
  const next = found[place + by];
  if (place >= 0 && next) go({ at: next.number }, { replace: true });
}

function leaveEntry() {
  if (state.at === null) return;
  const number = state.at;
  if (history.state?.opened) history.back();
  else go({ at: null }, { replace: true });
  while (numShown < found.length && found.findIndex((each) => each.number === number) >= numShown) showMore();
  byId("gallery").querySelector(`[data-number="${number}"]`)?.focus();
}

// The keyboard.

const STEPS = { ArrowLeft: -1, ArrowRight: 1, j: 1, k: -1 };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
  if (event.key === "?") {
    event.preventDefault();
    byId("keys").open ? byId("keys").close() : byId("keys").showModal();
    return;
  }
  if (byId("keys").open) return;
  if (byId("viewer").open) {
    if (event.key in STEPS) {
      event.preventDefault();
      step(STEPS[event.key]);
    }
    return;
  }
  moveAmongCards(event);
}

function moveAmongCards(event) {
  const cards = [...document.querySelectorAll("#gallery .card")];
  const here = cards.indexOf(document.activeElement);
  const columns = Math.max(1, cards.filter((card) => card.offsetTop === cards[0].offsetTop).length);
  const by = { ...STEPS, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const isStart = here < 0 && ["j", "k", "ArrowRight", "ArrowLeft"].includes(event.key);
  if (by === undefined || !cards.length || (here < 0 && !isStart)) return;
  event.preventDefault();
  if (here + by >= cards.length && numShown < found.length) {
    showMore();
    return moveAmongCards(event);
  }
  cards[here < 0 ? 0 : Math.min(Math.max(here + by, 0), cards.length - 1)].focus();
}

function start(given) {
  page = given;
  page.entries.forEach((entry, number) => {
    entry.number = number;
    entry.facets = page.facets.map((facet) => facet.of(entry));
  });
  byId("order").append(...page.orders.map((order) => element("option", { value: order.key }, order.words)));
  byId("order").addEventListener("change", (event) => go({ order: event.target.value, at: null }));
  byId("more").addEventListener("click", showMore);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("viewer").addEventListener("close", leaveEntry); // by the button, Escape or a click beside it
  byId("viewer").addEventListener("click", (event) => {
    if (event.target === byId("viewer")) byId("viewer").close();
  });
  byId("show-keys").addEventListener("click", () => byId("keys").showModal());
  byId("close-keys").addEventListener("click", () => byId("keys").close());
  for (const node of document.querySelectorAll("[data-choose]")) {
    node.addEventListener("click", () => {
      go({ facets: new Map([[node.dataset.facet, new Set([node.dataset.choose])]]), at: null });
      byId("choose").scrollIntoView();
    });
  }
  byId("chooser").open = matchMedia("(min-width: 56rem)").matches;
  document.addEventListener("keydown", onKey);
  addEventListener("popstate", show);
  buildBars();
  show();
  new IntersectionObserver((seen) => {
    if (seen.some((each) => each.isIntersecting) && numShown < found.length) showMore();
  }, { rootMargin: "600px" }).observe(byId("more"));
  requestAnimationFrame(() => setTimeout(() => performance.mark("shown")));
}
