'use strict';
// Shows the values of a chart where the pointer is, and where the arrow keys move the cursor of a
// chart that has the focus. The charts of a section have the same axis, so all show the same place.

for (const section of document.querySelectorAll('section:has(figure)')) {
  const { places, labels } = JSON.parse(section.querySelector('.stops').textContent);
  const charts = [...section.querySelectorAll('figure')].map((figure) => chartOf(figure, labels));
  const show = (stop) => charts.forEach((chart) => chart.show(stop, places[stop]));
  for (const { plot } of charts) {
    followPointer(plot, places, show);
    followKeys(plot, places.length - 1, show);
  }
}

function chartOf(figure, labels) {
  const plot = figure.querySelector('.plot');
  const name = plot.ariaLabel;
  const values = JSON.parse(figure.querySelector('.values').textContent);
  const keys = [...figure.querySelectorAll('.key output')];
  const at = figure.querySelector('.at');
  const cursor = plot.appendChild(document.createElement('i'));
  cursor.hidden = true;
  // A slider is what a screen reader knows to move by arrow keys.
  Object.assign(plot, { tabIndex: 0, role: 'slider' });
  Object.assign(plot, { ariaValueMin: 0, ariaValueMax: labels.length - 1 });

  const show = (stop, place) => {
    const isShown = stop !== undefined;
    cursor.hidden = !isShown;
    cursor.style.left = `${place * 100}%`;
    at.textContent = isShown ? labels[stop] : '';
    keys.forEach((key, i) => (key.textContent = isShown ? values[i][stop] : ''));
    plot.ariaValueNow = stop ?? 0;
    const texts = keys.map((key) => key.parentElement.textContent);
    plot.ariaValueText = isShown ? `${labels[stop]}: ${texts.join(', ')}` : name;
  };
  show();
  return { plot, show };
}

function followPointer(plot, places, show) {
  const move = (event) => {
    const { left, width } = plot.getBoundingClientRect();
    const place = (event.clientX - left) / width;
    const distances = places.map((each) => Math.abs(each - place));
    show(distances.indexOf(Math.min(...distances)));
  };
  plot.addEventListener('pointerdown', move);
  plot.addEventListener('pointermove', move);
  // What a finger has touched stays, for it covers what it touches.
  plot.addEventListener('pointerleave', (event) => event.pointerType === 'touch' || show());
}

function followKeys(plot, last, show) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10, Home: -last, End: last };
  plot.addEventListener('keydown', (event) => {
    if (event.key in steps) {
      const stop = Number(plot.ariaValueNow) + steps[event.key];
      show(Math.min(Math.max(stop, 0), last));
      event.preventDefault();
    } else if (event.key === 'Escape') {
      show();
    }
  });
  plot.addEventListener('blur', () => show());
}
