"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const media = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)").matches;
  const state = { clock: "step", case: null, hidden: new Set(), log: {}, tree: 0, nodeLog: false };
  const drawn = new Map(); // what draws a plot again, by its element

  // Colours: of cases by their number, of lines within a case from first to last.
  const COLOURS = {
    light: ["#1f5fa8", "#c2571a", "#2d7d46", "#8a4fb0", "#a8324a", "#00788a", "#6b6b00",
      "#7a4a2b", "#4b5563", "#b0308f"],
    dark: ["#83b4f0", "#f0a36b", "#7fce98", "#c9a0ec", "#f0899c", "#5fcadb", "#d3d065",
      "#d3a486", "#b6bfcb", "#f08fd8"],
  };
  const SHADES = {
    light: ["#440154", "#3b528b", "#21908c", "#3f9f4a"],
    dark: ["#fde725", "#6ece58", "#2fa79a", "#6a86c9"],
  };
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
  const SAMPLES = ["\u2501\u2501", "\u2578\u2578\u2578", "\u00b7\u00b7\u00b7\u00b7", "\u2578\u00b7\u2578", "\u2501 \u2501"];
  const AT_FIRST = 10; // cases that a figure shows before its legend is used

  const theme = () => root.dataset.theme || (media.matches ? "dark" : "light");
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const make = (tag, options = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), options);
    element.append(...children);
    return element;
  };
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const shade = (rank, count) => {
    const stops = SHADES[theme()].map(rgb);
    const at = count > 1 ? (rank / (count - 1)) * (stops.length - 1) : 0;
    const i = Math.min(Math.floor(at), stops.length - 2);
    const mix = stops[i].map((c, k) => Math.round(c + (at - i) * (stops[i + 1][k] - c)));
    return `rgb(${mix.join(",")})`;
  };
  const clear = (colour, alpha) => {
    const parts = colour.startsWith("#") ? rgb(colour) : colour.match(/\d+/g);
    return `rgba(${[...parts].join(",")},${alpha})`;
  };

  // Data: rows of a block as text, and its columns as numbers.
  const rowsOf = (block) => block.lines ??= block.rows ? block.rows.split("\n").map((row) => row.match(/("([^"]|"")*"|[^,]*)(,|$)/g).map((x) => x.replace(/,$/, "")).slice(0, block.columns.length)) : [];
  const column = (name, label) => {
    const block = data.blocks[name], at = block.columns.indexOf(label);
    block.numbers ??= {};
    return block.numbers[label] ??= at < 0 ? null : rowsOf(block).map((row) => row[at] === "" ? null : Number(row[at]));
  };

  // CSV files.
  const quoted = (text) => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const csvLink = (name, text, label) => {
    const link = make("a", { className: "csv", href: "#", textContent: "CSV", role: "button" });
    link.setAttribute("aria-label", `CSV of ${label}`);
    link.addEventListener("click", () => save(link, name(), text()));
    return link;
  };
  const save = (link, name, text) => {
    if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
  };
  const fileName = (...words) => words.join(" ").toLowerCase().replace(/[^a-z0-9.]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 80) + ".csv";

  // Figures.
  const clockOf = (figure) => figure.kind === "axis" ? "axis" : state.clock;
  const tracesOf = (figure) => figure.traces.filter((trace) =>
    clockOf(figure) in trace.blocks && !state.hidden.has(trace.folder) && inCase(figure, trace));
  const inCase = (figure, trace) => figure.kind === "axis" || !figure.many || caseCount < 2 || trace.case === state.case;
  const figureCsv = (figure) => {
    const clock = clockOf(figure), traces = tracesOf(figure);
    const columns = [...new Set(traces.flatMap(columnsOf))];
    const positions = [...new Set(traces.map((trace) => trace.blocks[clock][1]))];
    const place = positions.length === 1 ? positions[0] : "position";
    const lines = [["folder", "case", place, ...columns].map(quoted).join(",")];
    const seen = new Set();
    for (const trace of traces) {
      const [name, x] = trace.blocks[clock];
      if (seen.has(name)) continue;
      seen.add(name);
      const block = data.blocks[name];
      const mine = new Set(traces.filter((t) => t.blocks[clock][0] === name).flatMap(columnsOf));
      const at = [x, ...columns.map((c) => mine.has(c) ? c : null)].map((c) => block.columns.indexOf(c));
      const start = [data.folders[trace.folder], trace.case].map(quoted).join(",");
      for (const row of rowsOf(block)) lines.push([start, ...at.map((i) => i < 0 ? "" : row[i])].join(","));
    }
    return lines.join("\n") + "\n";
  };
  const columnsOf = (trace) => trace.runs > 1 ? ["", " 10 %", " 90 %"].map((end) => trace.column + end) : [trace.column];
  const nameOf = (figure, trace) => {
    const where = [data.folders.length > 1 ? data.folders[trace.folder] : "", !figure.many || figure.kind === "axis" ? trace.case : ""];
    const line = trace.name || (where.some(Boolean) ? "" : figure.label);
    return [...where, line].filter(Boolean).join(": ");
  };
  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("%{", "% {");
  const plotTraces = (figure) => {
    const clock = clockOf(figure), found = [], traces = tracesOf(figure);
    const count = Math.max(...traces.map((t) => t.rank)) + 1, listed = new Set();
    traces.forEach((trace, i) => {
      const [block, label] = trace.blocks[clock], x = column(block, label);
      const one = !figure.many || figure.kind === "axis";
      const palette = COLOURS[theme()];
      const colour = one ? palette[i % palette.length] : shade(trace.rank, count);
      const dash = one ? DASHES[Math.floor(i / palette.length) % DASHES.length] : DASHES[trace.folder % DASHES.length];
      // Of several folders the k-th lines share a colour, and one entry of the legend.
      const together = !one && data.folders.length > 1, group = together ? trace.rank : i;
      const first = !listed.has(group);
      listed.add(group);
      const full = nameOf(figure, trace);
      const shared = { x, legendgroup: `g${group}`, mode: figure.kind === "axis" || x.length <= 20 ? "lines+markers" : "lines",
        visible: one && i >= AT_FIRST ? "legendonly" : true };
      if (trace.runs > 1) {
        const edge = { ...shared, mode: "lines", line: { width: 0, color: colour }, hoverinfo: "skip", showlegend: false };
        found.push({ ...edge, y: column(block, trace.column + " 10 %") });
        found.push({ ...edge, y: column(block, trace.column + " 90 %"), fill: "tonexty", fillcolor: clear(colour, 0.18) });
      }
      found.push({ ...shared, y: column(block, trace.column), name: together ? `k = ${trace.rank + 1}` : full, showlegend: first,
        hovertemplate: `${escaped(full)}<br>%{x:,.6~g}: %{y:.5~g}<extra></extra>`, line: { color: colour, dash, width: 1.8 }, marker: { size: 6, color: colour } });
    });
    return found;
  };
  const axis = (title, more) => ({
    title: { text: title, standoff: 8 }, gridcolor: css("--grid"), linecolor: css("--line"), zeroline: false,
    automargin: true, exponentformat: "power", ticks: "outside", tickcolor: css("--line"), ticklen: 4, ...more });
  const layoutOf = (titles, more) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: css("--ink") },
    margin: { l: 56, r: 12, t: 8, b: 44 }, dragmode: coarse ? false : "zoom", hovermode: "closest",
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") }, namelength: -1 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--accent") },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", maxheight: 20 * MOST_ROWS + 10, uirevision: state.case ?? "all", font: { size: 11.5 }, itemwidth: 30 },
    xaxis: axis(titles[0], { exponentformat: "none", separatethousands: true, ...more?.xaxis }), yaxis: axis(titles[1], more?.yaxis), ...(more?.rest ?? {}) });
  // plotly.js shows a button that sends the figure to its makers unless told not to.
  const CONFIG = { displaylogo: false, showSendToCloud: false, plotlyServerURL: "", responsive: true, displayModeBar: coarse ? true : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], showTips: false };
  const wrapped = (text, most) => {
    const lines = [""];
    for (const word of text.split(" ")) {
      if (lines.at(-1) && lines.at(-1).length + word.length > most) lines.push("");
      lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
    }
    return lines.join("<br>");
  };
  const MOST_ROWS = 6; // of a legend; more are reached by scrolling in it
  // Rows that plotly's horizontal legend takes, about.
  const legendRows = (named, width) => {
    const longest = Math.max(...named.map((t) => t.name.length));
    return Math.min(MOST_ROWS, Math.ceil(named.length / Math.max(1, Math.floor((width - 68) / (48 + 6.6 * longest)))));
  };
  // Whether positions are few whole numbers, between which there are none.
  const whole = (traces) => traces.every((t) => t.x.every((v) => Number.isInteger(v) && v < 13));
  // Ticks at powers of ten alone where an axis spans several.
  const decades = (traces) => {
    const known = traces.flatMap((t) => t.y).filter((v) => v > 0);
    let [low, high] = [Infinity, 0];
    for (const v of known) { low = Math.min(low, v); high = Math.max(high, v); }
    const span = Math.log10(high / low);
    return span >= 1.7 ? { dtick: Math.ceil(span / 8) } : span > 0.5 ? { dtick: "D2" } : {};
  };
  const drawFigure = (figure, place) => {
    const clock = clockOf(figure), found = tracesOf(figure);
    place.classList.toggle("empty", !found.length);
    if (!found.length) {
      Plotly.purge(place);
      place.style.height = "";
      place.textContent = figure.traces.some((t) => clock in t.blocks)
        ? "The folders that have it are hidden." : `Not recorded over ${data.clocks[clock]}.`;
      return;
    }
    if (!place.classList.contains("js-plotly-plot")) place.textContent = "";
    const traces = plotTraces(figure), log = state.log[figure.id];
    const lowest = traces.reduce((low, t) => t.y.reduce((a, v) => v !== null && v < a ? v : a, low), Infinity);
    const named = traces.filter((t) => t.showlegend);
    const legend = named.length > 1 || data.folders.length > 1;
    place.style.height = `${330 + (legend ? 20 * legendRows(named, place.clientWidth) : 0)}px`;
    const x = traces[0].x.filter((v) => v > 0), spread = x.length ? x.at(-1) / x[0] : 1;
    const more = {
      xaxis: figure.kind === "axis" && x.length <= 12 ? { type: spread >= 8 && x.length === traces[0].x.length ? "log" : "linear", tickvals: traces[0].x } :
        figure.kind === "axis" && spread >= 8 && x.length === traces[0].x.length ? { type: "log" }
        : whole(traces) ? { dtick: 1 } : {},
      yaxis: log ? { type: "log", ...decades(traces) } : lowest >= 0 ? { rangemode: "tozero" } : {},
      rest: { showlegend: legend, uirevision: `${clock}${state.case}${log}` },
    };
    Plotly.react(place, traces, layoutOf([figure.clocks[clock] ?? "", wrapped(figure.label, 36)], more), CONFIG);
  };
  const switchOf = (names, chosen, label, act) => {
    const box = make("div", { className: "switch" });
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", label);
    fillSwitch(box, names, chosen, act);
    return box;
  };
  const fillSwitch = (box, names, chosen, act) => {
    for (const [key, text] of names) {
      const button = make("button", { type: "button", textContent: text });
      button.dataset.key = key;
      button.setAttribute("aria-pressed", String(key === chosen));
      button.addEventListener("click", () => {
        for (const other of box.children) other.setAttribute("aria-pressed", String(other === button));
        act(key);
      });
      box.append(button);
    }
  };
  const cardOf = (figure) => {
    const place = make("div", { className: "plot" });
    const again = () => drawFigure(figure, place);
    state.log[figure.id] = figure.log;
    const scale = switchOf([["linear", "linear"], ["log", "log"]], figure.log ? "log" : "linear", "vertical axis", (key) => {
      state.log[figure.id] = key === "log";
      again();
    });
    const link = csvLink(() => fileName(figure.title, data.clocks[clockOf(figure)] ?? figure.clocks.axis), () => figureCsv(figure), figure.title);
    const card = make("figure", { className: "card", id: figure.id },
      make("header", {}, make("h3", { textContent: figure.title }), make("div", { className: "tools" }, scale, link)), place);
    card.dataset.quantity = figure.quantity;
    drawn.set(place, again);
    return card;
  };
  const redraw = () => {
    for (const figure of data.figures) byId(figure.id).hidden = !figure.traces.some((t) => inCase(figure, t));
    for (const [place, again] of drawn) if (place.isConnected && place.offsetParent !== null && !place.closest("details:not([open])")) again();
  };

  // Tables.
  const valueOf = (cell) => cell.dataset.value ?? (cell.textContent === "\u2013" ? "" : cell.textContent);
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const sortBy = (table, at) => {
    const heads = [...table.tHead.rows[0].cells], up = heads[at].getAttribute("aria-sort") !== "ascending";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[at].setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    const empty = (row) => valueOf(row.cells[at]) === "";
    rows.sort((a, b) => empty(a) || empty(b) ? empty(a) - empty(b) : (up ? 1 : -1) * compare(valueOf(a.cells[at]), valueOf(b.cells[at])));
    table.tBodies[0].append(...rows);
  };
  const tableCsv = (table) => [...table.rows].map((row) =>
    [...row.cells].map((cell) => quoted(row.parentElement === table.tHead ? cell.textContent : valueOf(cell))).join(",")).join("\n") + "\n";
  for (const table of document.querySelectorAll(".table table"))
    [...table.tHead.rows[0].cells].forEach((head, i) => head.firstElementChild.addEventListener("click", () => sortBy(table, i)));
  for (const link of document.querySelectorAll("a[data-table]")) {
    const table = byId(link.dataset.table), title = link.parentElement.firstElementChild.textContent;
    link.setAttribute("aria-label", `CSV of ${title}`);
    link.addEventListener("click", () => save(link, fileName(title), tableCsv(table)));
  }

  // Trees.
  const treeName = (tree) => [data.folders.length > 1 ? data.folders[tree.folder] : "", tree.case].filter(Boolean).join(": ") || data.folders[tree.folder];
  const showTree = (i) => {
    state.tree = i;
    const place = byId("tree");
    place.innerHTML = data.trees[i].svg;
    byId("node").textContent = "";
    for (const node of place.querySelectorAll(".node")) {
      node.setAttribute("aria-pressed", "false");
      const act = () => showNode(node);
      node.addEventListener("click", act);
      node.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); }
      });
    }
  };
  const showNode = (node) => {
    for (const other of byId("tree").querySelectorAll(".node")) other.setAttribute("aria-pressed", String(other === node));
    const tree = data.trees[state.tree], block = data.blocks[tree.block], id = node.dataset.node;
    const rows = rowsOf(block).filter((row) => row[0] === id);
    const title = tree.nodes[id], place = byId("node");
    const header = make("header", {}, make("h3", { textContent: title.charAt(0).toUpperCase() + title.slice(1) }));
    place.replaceChildren(header);
    if (!rows.length) {
      place.append(make("p", { className: "note", textContent: "Nothing is recorded of this node." }));
      return;
    }
    const plots = [];
    header.append(switchOf([["linear", "linear"], ["log", "log"]], state.nodeLog ? "log" : "linear", "vertical axis", (key) => {
      state.nodeLog = key === "log";
      plots.forEach((again) => again());
    }), csvLink(() => fileName(treeName(tree), title), () => [block.columns, ...rows].map((row) => row.map((x) => quoted(String(x))).join(",")).join("\n") + "\n", title));
    const grid = make("div", { className: "figures" });
    place.append(grid);
    for (const [quantity, words] of [["norm", "norm of each local component"], ["singular value", "singular values of its matricization"]]) {
      const mine = rows.filter((row) => row[1] === quantity);
      if (!mine.length) continue;
      const plot = make("div", { className: "plot" });
      grid.append(make("div", { className: "node-plot" }, make("h4", { textContent: words.charAt(0).toUpperCase() + words.slice(1) + ", at the end" }), plot));
      const again = () => {
        const [x, y, low, high] = [2, 3, 4, 5].map((i) => mine.map((row) => Number(row[i])));
        const bars = low.some((v, i) => v !== high[i]) ? { type: "data", symmetric: false, array: high.map((v, i) => v - y[i]), arrayminus: y.map((v, i) => v - low[i]), color: css("--soft"), thickness: 1 } : undefined;
        Plotly.react(plot, [{ x, y, error_y: bars, type: "bar", marker: { color: css("--accent") }, hovertemplate: "k = %{x}: %{y:.5~g}<extra></extra>" }],
          layoutOf(["k, the largest first", wrapped(words, 30)], { yaxis: state.nodeLog ? { type: "log" } : { rangemode: "tozero" }, xaxis: x.length < 16 ? { dtick: 1 } : {} }), CONFIG);
      };
      drawn.set(plot, again);
      plots.push(again);
      again();
    }
  };

  // The page.
  const curves = data.figures.filter((figure) => figure.kind === "curve");
  const overAxes = data.figures.filter((figure) => figure.kind === "axis");
  const cases = [...new Set(curves.filter((f) => f.many).flatMap((f) => f.traces.map((t) => t.case)))];
  const caseCount = cases.length;
  const start = () => {
    const clocks = Object.keys(data.clocks).filter((clock) => curves.some((f) => f.traces.some((t) => clock in t.blocks)));
    state.clock = clocks[0] ?? "step";
    state.case = cases.at(-1) ?? null;
    const count = (name) => curves.filter((f) => f.many && f.traces.some((t) => t.case === name)).flatMap((f) => f.traces.filter((t) => t.case === name && state.clock in t.blocks)).length;
    for (const name of cases) if (count(name) > count(state.case)) state.case = name;
    if (caseCount > 1) {
      byId("case").append(...cases.map((name) => make("option", { value: name, textContent: name || "all", selected: name === state.case })));
      byId("case").addEventListener("change", (event) => { state.case = event.target.value; redraw(); });
      byId("case-label").hidden = false;
    }
    if (clocks.length > 1) {
      fillSwitch(byId("clock"), clocks.map((clock) => [clock, data.clocks[clock]]), state.clock, (key) => { state.clock = key; redraw(); });
      byId("clock").hidden = false;
    }
    if (data.folders.length > 1) {
      byId("folders").append(...data.folders.map((name, i) => {
        const button = make("button", { type: "button", textContent: `${SAMPLES[i % SAMPLES.length]} ${name}` });
        button.setAttribute("aria-pressed", "true");
        button.addEventListener("click", () => {
          if (!state.hidden.delete(i)) state.hidden.add(i);
          button.setAttribute("aria-pressed", String(!state.hidden.has(i)));
          redraw();
        });
        return button;
      }));
      byId("folders").hidden = false;
    }
    byId("bands").hidden = !data.figures.some((f) => f.traces.some((t) => t.runs > 1));
    byId("figures").append(...curves.filter((f) => !f.more).map(cardOf));
    byId("more-figures").append(...curves.filter((f) => f.more).map(cardOf));
    byId("more").hidden = !curves.some((f) => f.more);
    byId("more").addEventListener("toggle", redraw);
    byId("axis-figures").append(...overAxes.map(cardOf));
    byId("curves").hidden = !curves.length;
    byId("axes").hidden = !overAxes.length;
    byId("trees").hidden = !data.trees.length;
    byId("tables").hidden = !document.querySelector("#tables table");
    if (data.trees.length) {
      byId("tree-case").append(...data.trees.map((tree, i) => make("option", { value: String(i), textContent: treeName(tree) })));
      byId("tree-case").addEventListener("change", (event) => showTree(Number(event.target.value)));
      byId("tree-label").hidden = data.trees.length < 2;
      showTree(0);
      const first = byId("tree").querySelector(".known:last-of-type") ?? byId("tree").querySelector(".known");
      if (first) showNode(first);
    }
    const sections = [...document.querySelectorAll("main > section")].filter((section) => !section.hidden);
    document.querySelector("nav").append(...sections.map((section) => make("a", { href: `#${section.id}`, textContent: section.querySelector("h2").textContent })));
    redraw();
  };
  const themeButton = byId("theme");
  const nameTheme = () => { themeButton.textContent = theme() === "dark" ? "Light" : "Dark"; };
  themeButton.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    nameTheme();
    redraw();
  });
  media.addEventListener("change", () => { nameTheme(); redraw(); });
  nameTheme();
  start();
})();
