// Videos of a group play in step under one slider. Without this script each has its own native controls.
(() => {
  "use strict";
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const icon = (d) => `<svg viewBox="0 0 12 12" aria-hidden="true"><path d="${d}"/></svg>`;
  const PLAY = icon("M2 1l9 5-9 5z"), PAUSE = icon("M2 1h3v10H2zM7 1h3v10H7z");
  const play = (video) => { const promise = video.play(); if (promise) promise.catch(() => {}); };

  for (const group of document.querySelectorAll(".group")) {
    const videos = [...group.querySelectorAll("video")];
    const frames = Number(group.dataset.frames), fps = Number(group.dataset.fps), given = Number(group.dataset.given);
    if (!videos.length || !(frames > 1) || !(fps > 0)) continue;
    const lead = videos[0];
    const deck = document.createElement("div");
    const button = document.createElement("button"), slider = document.createElement("input"), said = document.createElement("output");
    deck.className = "deck";
    button.type = "button";
    Object.assign(slider, { type: "range", min: 0, max: frames - 1, step: 1, value: 0 });
    slider.setAttribute("aria-label", "frame");
    deck.append(button, slider, said);
    group.append(deck);
    videos.forEach((video) => { video.controls = false; });

    let playing = !still;
    const show = (i) => {
      slider.value = i;
      const what = given ? (i < given ? " given" : " dreamed") : "";
      said.textContent = `${i + 1} / ${frames}${what}`;
    };
    const face = () => {
      button.innerHTML = playing ? PAUSE : PLAY;
      button.setAttribute("aria-label", playing ? "pause" : "play");
    };
    const seek = (i) => videos.forEach((video) => { video.currentTime = (i + 0.5) / fps; });
    const tick = () => {
      if (!playing) return;
      show(Math.min(frames - 1, Math.floor(lead.currentTime * fps + 0.01)));
      // A follower that has drifted by more than a frame and a half is brought back, but not while either jumps to the start.
      if (!lead.seeking) for (const video of videos) {
        const apart = Math.abs(video.currentTime - lead.currentTime);
        if (video !== lead && !video.seeking && apart > 1.5 / fps && apart < lead.duration - 1.5 / fps) video.currentTime = lead.currentTime;
      }
      requestAnimationFrame(tick);
    };
    const start = () => { playing = true; videos.forEach(play); face(); requestAnimationFrame(tick); };
    const stop = () => { playing = false; videos.forEach((video) => video.pause()); face(); };
    button.addEventListener("click", () => (playing ? stop() : start()));
    slider.addEventListener("input", () => { const i = Number(slider.value); stop(); seek(i); show(i); });
    show(0);
    if (still) { videos.forEach((video) => { video.autoplay = false; }); stop(); } else start();
  }
})();
