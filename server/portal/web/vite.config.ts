import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// The server embeds ../dist. Nothing is inlined: the content security policy allows no inline script
// and no data: font, and hashed files are cached for good.
export default defineConfig({
  plugins: [react()],
  build: {
    outDir: '../dist',
    emptyOutDir: false, // keeps the tracked .gitkeep; scripts/clean.mjs empties the rest
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    chunkSizeWarningLimit: 800,
  },
  server: {
    port: 5173,
    proxy: { '/api': 'http://127.0.0.1:8480', '/healthz': 'http://127.0.0.1:8480' },
  },
});
