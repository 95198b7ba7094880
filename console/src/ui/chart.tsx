/** A stacked column chart of usage over time. It can be walked by keyboard, and says what it shows. */

import { type KeyboardEvent, type ReactNode, type RefObject, useEffect, useRef, useState } from "react";
import { type Step, stepName, stepTitle } from "../core/days";
import { type Measure, type Series, said, stacked } from "../core/series";

const HEIGHT = 260;
const PAD = { top: 12, right: 4, bottom: 24, left: 52 };
/** Least pixels from one name under the chart to the next. */
const NAME_PX = 58;

/** The width of an element, as it changes. */
function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return width;
}

export interface ChartProps {
  readonly label: string;
  readonly steps: readonly string[];
  readonly step: Step;
  /** In the order of the stack, from below. */
  readonly series: readonly Series[];
  readonly total: Series;
  readonly measure: Measure;
  /** What a series is called. */
  readonly name: (series: Series) => string;
}

export function Chart({ label, steps, step, series, total, measure, name }: ChartProps): ReactNode {
  const frame = useRef<HTMLDivElement>(null);
  const width = useWidth(frame);
  const [at, setAt] = useState<number>();
  const chosen = at !== undefined && at < steps.length ? at : undefined;
  const stack = stacked(series, steps.length, measure);
  const [inner, height] = [Math.max(0, width - PAD.left - PAD.right), HEIGHT - PAD.top - PAD.bottom];
  const slot = inner / Math.max(1, steps.length);
  const bar = Math.max(1, Math.min(slot * 0.72, 44));
  const left = (column: number) => PAD.left + column * slot + (slot - bar) / 2;
  const y = (share: number) => PAD.top + height * (1 - share);
  const every = Math.max(1, Math.ceil(NAME_PX / Math.max(1, slot)));

  const pressed = (event: KeyboardEvent) => {
    const last = steps.length - 1;
    const to = {
      ArrowLeft: Math.max(0, (chosen ?? last + 1) - 1), ArrowRight: Math.min(last, (chosen ?? -1) + 1), Home: 0, End: last,
    }[event.key];
    if (event.key === "Escape") setAt(undefined);
    else if (to !== undefined) setAt(to);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <figure className="chart">
      <div ref={frame} className="chart-frame" role="group" aria-roledescription="chart" aria-label={`${label}; the arrow keys go from ${step} to ${step}`} tabIndex={0} onKeyDown={pressed} onPointerLeave={() => setAt(undefined)}>
        {width > 0 && (
          <svg width={width} height={HEIGHT} viewBox={`0 0 ${width} ${HEIGHT}`} aria-hidden="true">
            {stack.ticks.map((tick) => (
              <g key={tick.at}>
                <line className={tick.at === 0 ? "axis" : "grid"} x1={PAD.left} x2={width - PAD.right} y1={y(tick.at)} y2={y(tick.at)} />
                {!(stack.isEmpty && tick.at > 0) && <text className="tick" x={PAD.left - 8} y={y(tick.at)} dy="0.32em" textAnchor="end">{tick.text}</text>}
              </g>
            ))}
            {stack.columns.map((column, place) => (
              <g key={steps[place]} className={chosen === undefined || chosen === place ? "column" : "column dimmed"}>
                {column.parts.map((part) => (
                  <rect key={part.series} className={colour(series, part.series)} x={left(place)} width={bar} y={y(part.to)} height={Math.max(0.75, y(part.from) - y(part.to))} />
                ))}
              </g>
            ))}
            {steps.map((first, place) => (place % every === 0 && left(place) + bar / 2 + NAME_PX / 2 <= width + 8 ? (
              <text key={first} className="tick" x={left(place) + bar / 2} y={HEIGHT - 6} textAnchor="middle">{stepName(first, step)}</text>
            ) : null))}
            {steps.map((first, place) => (
              <rect key={first} className="catch" x={PAD.left + place * slot} width={slot} y={0} height={HEIGHT} onPointerEnter={() => setAt(place)} onPointerDown={() => setAt(place)} />
            ))}
          </svg>
        )}
      </div>
      <figcaption aria-live="polite" className="readout">
        {chosen === undefined ? (
          <span className="soft">Point at a column, or use the arrow keys.</span>
        ) : (
          <>
            <strong>{stepTitle(steps[chosen] ?? "", step)}</strong>
            <span className="num">{said(total.points[chosen] ?? total.total, measure)}</span>
            {series.map((one, place) => {
              const used = one.points[chosen];
              return used && stack.columns[chosen]?.parts.some((part) => part.series === place) ? (
                <span key={place} className="readout-part"><span className={`swatch ${colour(series, place)}`} />{name(one)} <span className="num">{said(used, measure)}</span></span>
              ) : null;
            })}
          </>
        )}
      </figcaption>
    </figure>
  );
}

/** The class of a series' colour: by its place, and grey for all the others together. */
export function colour(series: readonly Series[], place: number): string {
  return series[place]?.key == null ? "hue-rest" : `hue-${place}`;
}
