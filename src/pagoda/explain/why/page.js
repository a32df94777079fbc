
// The page of `pagoda why`.

const WHAT = { miss: "missed objects", wrong: "wrong detections", suspect: "suspect annotations" };
const SIZES = ["small", "medium", "large"];
const LAYERS = { annotated: "annotated", found: "detections that overlap it" };
const ELSEWHERE = { elsewhere: "all other detections" };
hidden.add("elsewhere"); // of weak ones there may be so many that nothing else is seen
const fixed = (value, digits = 2) => value.toFixed(digits);

const regionOf = (entry, factor) => around(entry.box, sizeOf(entry), factor);
const sizeOf = (entry) => data.pictures[entry.picture].size;
const labelOf = (entry) => data.names[entry.label];

// Everything in the picture, what the entry is about last, so that it lies on top.
function boxesOf(entry) {
  const picture = data.pictures[entry.picture];
  const boxes = picture.objects.map((object, row) => ({
    box: object.slice(0, 4), row, kind: row === entry.object ? "annotated concerned" : "annotated",
    title: `annotated: ${data.names[object[4]]}${object[6] ? ", ignored" : ""}`,
  }));
  boxes.push(...picture.found.map((found) => ({
    box: found.slice(1, 5),
    kind: found[0] === entry.detection ? "found concerned"
      : overlap(found.slice(1, 5), entry.box) > 0.1 ? "found" : "elsewhere",
    title: `detection: ${data.names[found[6]]} ${fixed(found[5])}`,
  })));
  if (entry.evidence) {
    boxes.push({ box: entry.evidence.box, kind: "near", title: "the box that came closest" });
    if (entry.evidence.prior) {
      boxes.push({ box: entry.evidence.prior, kind: "prior", title: priorOf(entry.evidence) });
    }
  }
  if (entry.what === "suspect" && entry.object === undefined) {
    boxes.push({ box: entry.box, kind: "found concerned", title: `probably missing: ${entry.suggested}` });
  }
  return boxes.sort((one, other) => one.kind.includes("concerned") - other.kind.includes("concerned"));
}

function priorOf({ prior, level }) {
  const isPoint = prior[0] === prior[2] && prior[1] === prior[3];
  const what = level === undefined ? "proposal" : isPoint ? "location" : "anchor";
  return level === undefined ? what : `${what} of level P${level}`;
}

// In the gallery what the entry is about alone, and the annotation it meets.
function cardOf(entry) {
  const boxes = boxesOf(entry).filter(({ kind }) => kind.includes("concerned"));
  return [
    drawn(data.pictures[entry.picture], regionOf(entry, 2.2), boxes, nameOf(entry), entry.detail ? [entry.detail] : []),
    element("span", { class: "title" }, data.reasons[entry.reason]),
    element("span", { class: "below" }, `${labelOf(entry)}, ${entry.size}`),
  ];
}

const nameOf = (entry) => `${labelOf(entry)}: ${data.reasons[entry.reason]}`;

function viewOf(entry) {
  const picture = data.pictures[entry.picture];
  const near = regionOf(entry, 3.2);
  const boxes = boxesOf(entry);
  const details = entry.detail ? [entry.detail] : [];
  const layers = { ...LAYERS, ...(entry.evidence ? { near: "what came closest" } : {}), ...ELSEWHERE };
  const region = { box: near, kind: "region", title: "the part shown beside" };
  const sides = element("div", { class: "sides" },
    element("figure", {}, drawn(picture, near, boxes, `${nameOf(entry)}, close up`, details),
      element("figcaption", {}, "close up")),
    element("figure", {}, drawn(picture, [0, 0, picture.size[1], picture.size[0]], [...boxes, region],
      `the whole picture ${picture.file}`), element("figcaption", {}, picture.file)));
  return [
    element("p", { class: "words" }, entry.words),
    entry.remedy === undefined ? null
      : element("p", { class: "remedy" }, element("strong", {}, "What mends it: "), data.remedies[entry.remedy]),
    sides, layersFor(layers, sides, "what this is about"), element("div", { class: "view-words" }, factsOf(entry), overlapsOf(entry)),
  ].filter(Boolean);
}

function factsOf(entry) {
  const picture = data.pictures[entry.picture];
  const [x1, y1, x2, y2] = entry.box;
  const evidence = entry.evidence;
  const rows = [
    ["class", labelOf(entry)],
    entry.suggested ? ["should be", entry.suggested] : null,
    ["size", `${entry.size}, ${fixed(x2 - x1, 0)} × ${fixed(y2 - y1, 0)} pixels`],
    entry.score === undefined ? null : ["score", fixed(entry.score, 3)],
    entry.iou === undefined ? null : ["IoU with what is annotated", fixed(entry.iou)],
    entry.suspicion === undefined ? null : ["suspicion", fixed(entry.suspicion)],
    evidence ? ["IoU of the closest box", fixed(evidence.iou)] : null,
    evidence ? ["score of its class there", fixed(evidence.score, 3)] : null,
    evidence ? ["best class there", `${evidence.best_label} ${fixed(evidence.best_score, 3)}`] : null,
    evidence?.prior ? ["made by", priorOf(evidence)] : evidence?.level !== undefined ? ["level", `P${evidence.level}`] : null,
    ["picture", `${picture.file} (${picture.id})`],
  ].filter(Boolean);
  return element("div", {},
    element("table", { class: "facts" }, element("tbody", {}, rows.map(([name, value]) =>
      element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value))))),
    element("button", {
      type: "button", class: "plain",
      onclick: () => go({ facets: new Map([["picture", new Set([picture.id])]]), at: null }),
    }, "everything of this picture"));
}

function overlapsOf(entry) {
  const picture = data.pictures[entry.picture];
  const rows = picture.found.map((found) => ({ found, iou: overlap(found.slice(1, 5), entry.box) }))
    .filter(({ found, iou }) => iou > 0.1 || found[0] === entry.detection)
    .sort((one, other) => other.iou - one.iou).slice(0, 6);
  if (!rows.length) return element("p", { class: "note" }, "No detection overlaps it by more than an IoU of .1.");
  return element("table", {},
    element("thead", {}, element("tr", {}, ["detection there", "score", "IoU"].map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, rows.map(({ found, iou }) => element("tr", {},
      element("th", { scope: "row" }, data.names[found[6]], found[0] === entry.detection ? element("strong", {}, " ← this one") : null),
      element("td", {}, fixed(found[5], 3)), element("td", {}, fixed(iou))))));
}

start({
  entries: data.entries,
  facets: [
    { key: "what", title: "what", of: (entry) => entry.what, words: (value) => WHAT[value] ?? value, values: Object.keys(WHAT) },
    {
      key: "reason", title: "reason", of: (entry) => entry.reason,
      words: (value) => Object.hasOwn(data.reasons, value) ? data.reasons[value] : value,
      group: (value) => WHAT[value.split(":")[0]], groups: Object.values(WHAT),
    },
    { key: "class", title: "class", of: labelOf, words: (value) => value },
    { key: "size", title: "size", of: (entry) => entry.size, words: (value) => value, values: SIZES },
    {
      key: "picture", title: "picture", of: (entry) => data.pictures[entry.picture].id, isHidden: true,
      words: (value) => `picture ${data.pictures.find(({ id }) => id === value)?.file ?? value}`,
    },
  ],
  orders: [
    { key: "data", words: "as listed", by: null },
    { key: "score", words: "highest score first", by: (entry) => entry.score ?? entry.evidence?.score ?? entry.suspicion ?? -1 },
    { key: "iou", words: "best overlap first", by: (entry) => entry.iou ?? entry.evidence?.iou ?? -1 },
    { key: "large", words: "largest first", by: ({ box }) => (box[2] - box[0]) * (box[3] - box[1]) },
  ],
  card: cardOf, view: viewOf, name: nameOf,
});
