'use strict';
// Shows one step of one scenario. The data has every text; only the headings of the lanes are from here.
{
  const scenarios = JSON.parse(document.getElementById('turns-data').textContent);
  const root = document.getElementById('turns');

  const make = (tag, name, ...inside) => {
    const element = document.createElement(tag);
    element.className = name;
    element.append(...inside);
    return element;
  };
  const chips = (texts, none) => {
    const made = texts.map((text) => make('span', 'chip', text));
    return make('div', 'chips', ...(made.length ? made : [make('span', 'none', none)]));
  };
  const row = (isNew, ...inside) => make('div', isNew ? 'row changed' : 'row', ...inside);
  const named = (name, value) => make('div', '', make('span', '', `${name} `), value);

  // The lanes of a step, with a bar beside what is not as it was.
  const clients = (step, was) =>
    step.clients.map((client) => {
      const [, , names, stands, sent, taken] = client;
      const text = make('b', '', names);
      return row(isOther(client, was.clients), text, ` ${stands}`, named('sent:', sent), named('was sent:', taken));
    });
  const kernel = (step, was) => [
    make('h4', '', 'Accept queue'),
    row(isNew(step.queue, [was.queue]), chips(step.queue, 'empty')),
    make('h4', '', 'Sockets'),
    ...(step.sockets.length ? [] : [row(false, chips([], 'none'))]),
    ...step.sockets.map((socket) => {
      const [, , names, unread, room, interest] = socket;
      const buffer = chips(unread ? unread.split(', ') : [], 'nothing');
      buffer.prepend(make('b', '', names), make('span', '', 'to be read:'));
      return row(isOther(socket, was.sockets), buffer, named('room to send:', room), named('epoll:', interest));
    }),
    make('h4', '', 'Ready list of epoll'),
    row(isNew(step.ready, [was.ready]), chips(step.ready, 'empty')),
  ];
  const reactor = (step, was) => {
    const calls = step.calls.map((call) => make('code', '', call));
    return [
      make('h4', '', 'Calls of this turn'),
      row(false, ...(calls.length ? calls : [make('span', '', 'none yet')])),
      ...step.facts.flatMap((fact) => {
        const [name, value] = fact;
        return [make('h4', '', name), row(isNew(fact, was.facts), value)];
      }),
    ];
  };
  const slab = (step, was) => {
    const slots = step.slab.map((slot, key) => {
      const [owner, stage] = slot.split('|');
      const name = `slot${slot ? ' used' : ''}${slot === was.slab[key] ? '' : ' changed'}`;
      return make('div', name, make('i', '', key), make('b', '', owner || (stage ? '' : 'free')), make('div', '', stage || ''));
    });
    return [make('div', 'slots', ...slots)];
  };
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const isNew = (item, old) => !old.some((each) => same(each, item));
  // The row of one client may have been a part of a row for several.
  const isOther = ([first, last, , ...texts], old) =>
    !old.some(([from, to, , ...was]) => from <= first && last <= to && same(was, texts));

  const LANES = [
    ['Clients', 'and what they have done', clients],
    ['Kernel', 'what it keeps for the server', kernel],
    ['Reactor', 'the one thread of the server', reactor],
    ['Slab', 'its table: each place has a key', slab],
  ];
  const NOTHING = { clients: [], queue: [], sockets: [], ready: [], facts: [] };

  const WORDS = [
    ['Accept queue', 'where the kernel puts connections until the server accepts them.'],
    ['Edge', 'the moment in which a socket becomes ready. epoll, as mio asks it to, reports that once, and not for \
      as long as the socket is ready.'],
    ['Ready list', 'the sockets that the next epoll_wait reports.'],
    ['Turn', 'what the server does from one epoll_wait to the next. No call in it waits.'],
    ['Key', 'a place in the slab. As the token of a socket it tells which connection an event is about.'],
    ['Accept gate', 'whether the server accepts at present.'],
    ['Deadline', 'the time at which the server closes a connection that is not done by then.'],
    ['FIN', 'the end of what one side sends. The other side may still send.'],
    ['Reset', 'the end of the connection. Bytes that are on the way may be lost.'],
    ['EAGAIN', 'what a call says where a blocking one would wait.'],
  ];
  const words = WORDS.map(([word, text]) => make('p', '', make('b', '', `${word}: `), text));
  const glossary = make('details', '', make('summary', '', 'The words'), ...words);

  const choice = make('select', '', ...scenarios.map(({ title, name }) => new Option(title, name)));
  choice.ariaLabel = 'Scenario';
  const about = make('p', '');
  const heading = make('h2', '');
  const captions = make('ol', '');
  const told = make('div', 'told', heading, captions);
  told.ariaLive = 'polite';
  const lanes = make('div', 'lanes');
  const back = make('button', '', '◀ Back');
  const next = make('button', '', 'Next ▶');
  const slider = Object.assign(make('input', ''), { type: 'range', min: 0, ariaLabel: 'Step' });
  const count = make('output', '');
  const hint = make(
    'p', 'faint',
    'Step with the buttons, the slider or the arrow keys. A bar at the left marks what has changed.',
  );
  root.replaceChildren(
    make('div', 'choice', make('h1', '', 'hello-echo, turn by turn'), choice), about, hint, told, lanes, glossary,
    make('div', 'bar', back, slider, count, next),
  );

  let scenario = scenarios[0];
  let at = 0;
  const show = () => {
    const { name, text, steps } = scenario;
    const step = steps[at];
    const was = steps[at - 1] ?? { ...NOTHING, slab: step.slab };
    choice.value = name;
    about.textContent = text;
    heading.replaceChildren(step.heading, make('small', '', ` ${step.at} after the start`));
    captions.replaceChildren(...step.captions.map((caption) => make('li', '', caption)));
    lanes.replaceChildren(
      ...LANES.map(([lane, what, inside]) =>
        make('section', 'lane', make('h3', '', lane), make('div', 'faint', what), ...inside(step, was))),
    );
    Object.assign(slider, { max: steps.length - 1, value: at, ariaValueText: step.heading });
    count.textContent = `${at + 1} of ${steps.length}`;
    back.disabled = at === 0;
    next.disabled = at === steps.length - 1;
  };
  const go = (to) => {
    at = Math.min(Math.max(to, 0), scenario.steps.length - 1);
    history.replaceState(null, '', `#${scenario.name}-${at + 1}`);
    show();
  };
  // #reset is a scenario, #reset-3 its third step.
  const follow = () => {
    const [, name, step] = location.hash.match(/^#(.*?)(?:-(\d+))?$/) ?? [];
    const found = scenarios.find((each) => each.name === name);
    if (found) {
      scenario = found;
      at = Math.min(Math.max(Number(step ?? 1) - 1, 0), found.steps.length - 1);
    }
    show();
  };

  back.addEventListener('click', () => go(at - 1));
  next.addEventListener('click', () => go(at + 1));
  slider.addEventListener('input', () => go(Number(slider.value)));
  choice.addEventListener('change', () => {
    scenario = scenarios.find((each) => each.name === choice.value);
    go(0);
  });
  document.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && !event.target.closest('select, input, textarea') && !(event.altKey || event.ctrlKey || event.metaKey)) {
      go(at + by);
      event.preventDefault();
    }
  });
  addEventListener('hashchange', follow);
  follow();
}
