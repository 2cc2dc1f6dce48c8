// Charts as inline SVG. The legend above a chart shows the values under the pointer, or else the last ones.

const LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 40;
const MOST_DOTS = 40; // a line with more points is drawn without dots

class Chart {
  constructor(figure, spec) {
    this.figure = figure;
    this.spec = spec;
    this.scale = spec.scales[0];
    const views = spec.views || [spec];
    this.over(views[0]);
    if (views.length > 1 || spec.scales.length > 1) this.choices(views, element("div", { class: "choices" }, figure));
    this.legend = element("p", { class: "readout" }, figure);
    if (!this.xs.length) {
      this.legend.textContent = "No values.";
      return;
    }
    if (spec.y) element("p", { class: "axis" }, figure, spec.y);
    this.svg = shape("svg", { class: "plot", tabindex: 0, role: "slider" }, figure);
    this.listen();
    this.draw();
    new ResizeObserver(() => figure.clientWidth !== this.width && this.draw()).observe(figure);
  }

  // Take the x axis and the lines of a view.
  over(view) {
    this.view = view;
    const measured = view.lines.filter((line) => line.style !== "dashed" && !line.quiet && line.points.length);
    this.xs = [...new Set(measured.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
    this.chosen = this.xs.length - 1; // index of the x value that the legend shows
  }

  choices(views, parent) {
    if (views.length > 1) {
      choice(parent, "x axis", views.map((view) => view.name), this.view.name, (name) => {
        this.over(views.find((view) => view.name === name));
        this.draw();
      });
    }
    if (this.spec.scales.length > 1) {
      choice(parent, "y axis scale", this.spec.scales, this.scale, (scale) => {
        this.scale = scale;
        this.draw();
      });
    }
  }

  name() {
    const { title, y } = this.spec;
    return `${title}${y ? `, ${y}` : ""}, over ${this.view.x}`;
  }

  // The points of a line that this scale can show.
  points(line) {
    return line.points.map(([x, y]) => [x, y === null || (this.scale === "logarithmic" && y <= 0) ? null : y]);
  }

  draw() {
    const width = this.figure.clientWidth, height = this.spec.tall ? Math.min(340, Math.max(240, width * 0.45)) : 184;
    if (!width || !this.svg) return;
    this.width = width;
    const values = this.view.lines.flatMap((line) => this.points(line).map((point) => point[1])).filter((y) => y !== null);
    this.svg.replaceChildren();
    fill(this.svg, { viewBox: `0 0 ${width} ${height}`, width, height, "aria-label": this.name() });
    const across = this.view.lines.flatMap((line) => line.points.map((point) => point[0]));
    this.x = makeScale(across, LEFT, width - RIGHT, { count: Math.max(4, Math.floor(width / 110)) });
    this.y = makeScale(values.length ? values : [1], height - BOTTOM, TOP, {
      logarithmic: this.scale === "logarithmic",
      zero: this.spec.zero && this.scale !== "logarithmic",
      margin: 0.06,
      count: this.spec.tall ? 6 : 4,
    });
    this.drawAxes(width, height);
    for (const line of this.view.lines) this.drawLine(line);
    this.cursor = shape("g", { class: "cursor" }, this.svg);
    this.point(this.chosen, this.active);
  }

  drawAxes(width, height) {
    const axes = shape("g", { class: "axes" }, this.svg), bottom = height - BOTTOM;
    for (const tick of this.y.ticks) {
      const y = this.y.at(tick);
      shape("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y }, axes);
      shape("text", { x: LEFT - 7, y: y + 4, "text-anchor": "end" }, axes, show(tick));
    }
    shape("text", { x: width - RIGHT, y: height - 5, "text-anchor": "end", class: "name" }, axes, this.view.x);
    for (const tick of this.x.ticks) {
      const x = this.x.at(tick);
      const anchor = x > width - 3 * RIGHT ? "end" : "middle"; // keep the last label within the chart
      shape("text", { x: anchor === "end" ? width - RIGHT : x, y: bottom + 18, "text-anchor": anchor }, axes, show(tick));
      shape("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4 }, axes);
    }
  }

  drawLine(line) {
    const group = shape("g", { class: `line ${kind(line)}` }, this.svg), points = this.points(line);
    let path = "", pen = "M";
    for (const [x, y] of points) {
      if (y !== null) path += `${pen}${this.x.at(x).toFixed(1)},${this.y.at(y).toFixed(1)}`;
      pen = y === null ? "M" : "L";
    }
    shape("path", { d: path }, group);
    if (line.style !== "strong" || this.spec.dots === false || points.length > MOST_DOTS) return;
    for (const [x, y] of points) if (y !== null) shape("circle", { cx: this.x.at(x), cy: this.y.at(y), r: 3 }, group);
  }

  listen() {
    const follow = (event) => {
      const position = event.clientX - this.svg.getBoundingClientRect().left;
      const distance = (n) => Math.abs(this.x.at(this.xs[n]) - position);
      let nearest = 0;
      for (let n = 1; n < this.xs.length; n++) if (distance(n) < distance(nearest)) nearest = n;
      this.point(nearest, true);
    };
    const leave = () => this.point(this.xs.length - 1, false);
    this.svg.addEventListener("pointermove", follow);
    this.svg.addEventListener("pointerdown", follow);
    this.svg.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && leave());
    this.svg.addEventListener("focus", () => this.point(this.chosen, true));
    this.svg.addEventListener("blur", leave);
    this.svg.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -1e9, End: 1e9 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.point(Math.min(this.xs.length - 1, Math.max(0, this.chosen + steps[event.key])), true);
    });
  }

  // Show the values at the n-th x value; `active`: the pointer or the focus is there.
  point(n, active) {
    this.chosen = n;
    this.active = active;
    const at = this.xs[n], x = this.x.at(at);
    this.cursor.replaceChildren();
    if (active) shape("line", { x1: x, x2: x, y1: TOP, y2: this.svg.getAttribute("height") - BOTTOM }, this.cursor);
    this.legend.replaceChildren();
    const parts = [element("span", { class: "at" }, this.legend, `${this.view.x} ${show(at)}`).textContent];
    for (const line of this.view.lines) {
      if (line.points.length && !line.quiet) parts.push(this.showValue(line, at, active));
    }
    fill(this.svg, { "aria-valuemin": 0, "aria-valuemax": this.xs.length - 1, "aria-valuenow": n, "aria-valuetext": parts.join(", ") });
  }

  // Show the value of a line at `at`, or at its nearest point, whose x value is then shown, too.
  showValue(line, at, active) {
    const nearest = nearestPoint(line.points, at), [x, y] = line.points[nearest];
    const key = element("span", { class: `key ${kind(line)}` }, this.legend);
    const sample = shape("svg", { width: 22, height: 10, "aria-hidden": true }, key);
    const group = shape("g", { class: `line ${kind(line)}` }, sample);
    shape("path", { d: "M1,5L21,5" }, group);
    if (line.style === "strong" && this.spec.dots !== false) shape("circle", { cx: 11, cy: 5, r: 3 }, group);
    key.append(line.name);
    const level = line.points.every((point) => point[1] === y), dashed = line.style === "dashed";
    if (dashed && x !== at && !level) return spoken(key); // a reference line, not measurements
    element("b", {}, key, show(y));
    if (x !== at && !dashed) element("small", {}, key, `at ${show(x)}`);
    if (line.notes) element("small", {}, key, line.notes[nearest]);
    const visible = y !== null && !(this.scale === "logarithmic" && y <= 0);
    if (active && visible && !dashed) shape("circle", { cx: this.x.at(x), cy: this.y.at(y), r: 4, class: kind(line) }, this.cursor);
    return spoken(key);
  }
}

// The classes of a line: its style, and its run where a chart shows several.
function kind(line) {
  return line.run === undefined ? line.style : `${line.style} run-${line.run}`;
}

function nearestPoint(points, x) {
  let nearest = 0;
  points.forEach((point, n) => {
    if (Math.abs(point[0] - x) < Math.abs(points[nearest][0] - x)) nearest = n;
  });
  return nearest;
}
