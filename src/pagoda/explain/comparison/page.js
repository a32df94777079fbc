
// The page of `pagoda compare`.

const LAYERS = { annotated: "annotated", found: "right detections", wrong: "wrong detections" };
const CHANGES = {
  "finds more": ({ found }) => found > 0,
  "finds fewer": ({ found }) => found < 0,
  "fewer wrong detections": ({ wrong }) => wrong < 0,
  "more wrong detections": ({ wrong }) => wrong > 0,
};
const gain = (entry) => entry.found - entry.wrong;
const outcome = (entry) => (gain(entry) > 0 ? "better" : gain(entry) < 0 ? "worse" : "neither");
const signed = (value) => `${value > 0 ? "+" : ""}${numbers.format(value)}`;
const changeWords = (entry) => `${signed(entry.found)} found, ${signed(entry.wrong)} wrong`;
const fileOf = (entry) => data.pictures[entry.picture].file;

// Objects that one side alone finds lie on top.
function boxesOf(entry, side) {
  const foundBy = entry.sides.map((rows) => new Set(rows.map((row) => row[6])));
  const objects = entry.objects.map((object, row) => ({
    box: object.slice(0, 4), title: `annotated: ${object[4]}`,
    kind: foundBy[0].has(row) === foundBy[1].has(row) ? "annotated" : "annotated concerned",
  }));
  const detections = entry.sides[side].map((row) => ({
    box: row.slice(0, 4), kind: row[6] < 0 ? "wrong" : "found",
    title: `${row[6] < 0 ? "wrong" : "right"}: ${row[5]} ${row[4].toFixed(2)}`,
  }));
  return [...objects, ...detections].sort((one, other) => one.kind.includes("concerned") - other.kind.includes("concerned"));
}

function sideOf(entry, side) {
  const picture = data.pictures[entry.picture];
  const right = entry.sides[side].filter((row) => row[6] >= 0).length;
  const words = `${data.sides[side]}: ${right} of ${entry.objects.length} found, ${entry.sides[side].length - right} wrong`;
  return [drawn(picture, [0, 0, picture.size[1], picture.size[0]], boxesOf(entry, side), words), words];
}

function viewOf(entry) {
  const sides = element("div", { class: "sides" }, [0, 1].map((side) => {
    const [view, words] = sideOf(entry, side);
    return element("figure", {}, view, element("figcaption", {}, words));
  }));
  return [
    element("p", { class: "words" }, `The second beside the first: ${changeWords(entry)}.`), sides,
    layersFor(LAYERS, sides, "found by one alone"),
  ];
}

start({
  entries: data.entries,
  facets: [
    { key: "outcome", title: "the second is", of: outcome, words: (value) => value, values: ["better", "worse", "neither"] },
    {
      key: "change", title: "above all it", words: (value) => value,
      of: (entry) => Object.keys(CHANGES).find((name) => CHANGES[name](entry)) ?? "otherwise",
    },
  ],
  orders: [
    { key: "gain", words: "best first", by: gain },
    { key: "loss", words: "worst first", by: (entry) => -gain(entry) },
    { key: "objects", words: "most objects first", by: (entry) => entry.objects.length },
  ],
  card: (entry) => [
    element("span", { class: "two" }, sideOf(entry, 0)[0], sideOf(entry, 1)[0]),
    element("span", { class: "title" }, changeWords(entry)), element("span", { class: "below" }, fileOf(entry)),
  ],
  view: viewOf,
  name: (entry) => `${fileOf(entry)}: ${outcome(entry)}`,
});
