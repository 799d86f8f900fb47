import { createBrowserRouter, type RouteObject } from 'react-router';
import { Shell } from './Shell';
import { Broken, NotFound } from './Broken';

/** A page of its own file, loaded when it is first opened; the module exports it as `Component`. */
const page = (path: string, load: () => Promise<{ Component: React.ComponentType }>): RouteObject => ({ path, lazy: load, errorElement: <Broken /> });

const pages: RouteObject[] = [
  page('/devices', () => import('../pages/devices/DevicesPage')),
  page('/devices/:id', () => import('../pages/devices/DevicePage')),
  page('/jobs', () => import('../pages/jobs/JobsPage')),
  page('/jobs/:id', () => import('../pages/jobs/JobPage')),
  page('/profile', () => import('../pages/profile/ProfilePage')),
];

export const createRouter = () =>
  createBrowserRouter([
    {
      errorElement: <Broken />,
      HydrateFallback: () => null,
      children: [
        page('/sign-in', () => import('../pages/auth/SignInPage')),
        page('/reset-password', () => import('../pages/auth/ResetRequestPage')),
        page('/set-password', () => import('../pages/auth/SetPasswordPage')),
        { element: <Shell />, children: [...pages, { path: '*', element: <NotFound /> }] },
      ],
    },
  ]);
