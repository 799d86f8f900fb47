// Sets the colour scheme before the first paint; a file of its own because the policy allows no inline script.
(function () {
  var wanted = 'auto';
  try {
    wanted = localStorage.getItem('reeve.scheme') || 'auto';
  } catch (e) {
    // Storage may be blocked: follow the system.
  }
  var dark = wanted === 'dark' || (wanted !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light');
})();
