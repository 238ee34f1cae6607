"""Pages over the pillars: routes translate, sessions decide; no build step, nothing loaded from another host."""
