// The chart of the overview. The bars that the server has drawn stay where this cannot run.
const drawn = new WeakMap();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function marks(figure) {
  return {
    hooks: {
      draw: (plot) => {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.strokeStyle = colour("--mark");
        for (const [at, deploy] of JSON.parse(figure.dataset.chart).marks) {
          // A deploy is a whole line, a start with the same code a dashed one.
          ctx.setLineDash(deploy ? [] : [4, 4]);
          const x = Math.round(plot.valToPos(at, "x", true));
          ctx.beginPath();
          ctx.moveTo(x, bbox.top);
          ctx.lineTo(x, bbox.top + bbox.height);
          ctx.stroke();
        }
        ctx.restore();
      },
    },
  };
}

function options(figure, width) {
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  return {
    width, height: 200, cursor: { y: false }, legend: { live: true },
    scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(most * 1.1, 0.001)] } },
    axes: [axis, { ...axis, size: 56 }],
    plugins: [marks(figure)],
    series: [
      {},
      { label: "well, each second", stroke: colour("--good"), fill: colour("--good-soft"), width: 2, points: { show: false } },
      { label: "failed, each second", stroke: colour("--bad"), fill: colour("--bad-soft"), width: 2, points: { show: false } },
    ],
  };
}

export function drawCharts() {
  if (!window.uPlot) return;
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const { x, done, failed } = JSON.parse(figure.dataset.chart);
    const canvas = figure.querySelector(".canvas");
    const known = drawn.get(canvas);
    if (known) {
      if (known.text !== figure.dataset.chart) known.plot.setData([x, done, failed]);
      known.text = figure.dataset.chart;
      continue;
    }
    const plot = new window.uPlot(options(figure, canvas.clientWidth), [x, done, failed], canvas);
    drawn.set(canvas, { plot, text: figure.dataset.chart });
    new ResizeObserver(() => plot.setSize({ width: canvas.clientWidth, height: 200 })).observe(canvas);
  }
}

export function redraw() {
  for (const canvas of document.querySelectorAll("figure[data-chart] .canvas")) {
    drawn.get(canvas)?.plot.destroy();
    drawn.delete(canvas);
  }
  drawCharts();
}
