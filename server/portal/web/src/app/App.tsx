import { MantineProvider, localStorageColorSchemeManager } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { RouterProvider } from 'react-router';
import { session } from '../api/client';
import { ProblemError } from '../api/problem';
import { createRouter } from './routes';
import { cssVariables, theme } from './theme';

const scheme = localStorageColorSchemeManager({ key: 'reeve.scheme' });

function createQueryClient() {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        refetchOnWindowFocus: false,
        // What the server refused it will refuse again; only a lost connection is worth a second try.
        retry: (failures, error) => failures < 2 && (!(error instanceof ProblemError) || error.status === 0 || error.status === 503),
      },
    },
  });
}

export function App({ nonce }: { nonce: string }) {
  const [client] = useState(createQueryClient);
  const [router] = useState(createRouter);

  useEffect(() => {
    void session.start();
    // Nothing of one user may be seen by the next one at the same screen.
    return session.subscribe(() => {
      if (session.state === 'signed-out') client.clear();
    });
  }, [client]);

  return (
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto" colorSchemeManager={scheme} getStyleNonce={() => nonce}>
      <QueryClientProvider client={client}>
        <Notifications position="bottom-right" limit={4} />
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  );
}
