/** A run as a picture: for each measure a bar for each contender in each case, its height the median, with a dot for every round. */
import { init } from 'echarts';
import type { EChartsOption } from 'echarts';
import { median } from '../../test/support/median.js';
import type { Series } from './series.js';

const widthPx = 900;
const panelPx = 260;
/** Okabe and Ito's, which the colour-blind can tell apart. */
const palette = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#999999'];

/** @returns SVG */
export function plotOf(title: string, series: readonly Series[]): string {
  const measures = [...new Set(series.map(({ measure }) => measure))];
  const chart = init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: widthPx,
    height: 40 + measures.length * panelPx,
  });
  try {
    chart.setOption(optionOf(title, measures, series));
    return `${chart.renderToSVGString()}\n`;
  } finally {
    chart.dispose();
  }
}

function optionOf(title: string, measures: readonly string[], series: readonly Series[]): EChartsOption {
  const contenders = [...new Set(series.map(({ contender }) => contender))];
  const colourOf = (contender: string): string =>
    palette[contenders.indexOf(contender) % palette.length] ?? '#000000';
  const panels = measures.map((measure) => series.filter((one) => one.measure === measure));
  const labelOf = (one: Series): string => [one.contender, one.case].filter(Boolean).join('\n');
  return {
    animation: false,
    title: { text: title, left: 'center', textStyle: { fontSize: 15 } },
    grid: panels.map((_, at) => ({ top: 75 + at * panelPx, height: panelPx - 110, left: 80, right: 20 })),
    xAxis: panels.map((panel, at) => ({
      gridIndex: at,
      type: 'category' as const,
      data: panel.map(labelOf),
      axisLabel: { interval: 0, fontSize: 10 },
    })),
    yAxis: panels.map((panel, at) => ({
      gridIndex: at,
      type: 'value' as const,
      name: `${panel[0]?.measure} (${panel[0]?.unit})`,
      nameTextStyle: { align: 'left' as const },
    })),
    series: panels.flatMap((panel, at) => [
      {
        type: 'bar' as const,
        ...{ xAxisIndex: at, yAxisIndex: at, barMaxWidth: 60 },
        data: panel.map((one) => ({
          value: median(one.values),
          itemStyle: { color: colourOf(one.contender) },
        })),
      },
      {
        type: 'scatter' as const,
        ...{ xAxisIndex: at, yAxisIndex: at, symbolSize: 5, itemStyle: { color: '#222222' } },
        data: panel.flatMap((one, index) => one.values.map((value) => [index, value])),
      },
    ]),
  };
}
