import { createBrowserRouter, type RouteObject } from 'react-router';
import { adminPages } from './adminPages';
import { Shell } from './Shell';
import { Broken, NotFound } from './Broken';

/** A page of its own file, loaded when it is first opened; the module exports it as `Component`. */
const page = (path: string, load: () => Promise<{ Component: React.ComponentType }>): RouteObject => ({ path, lazy: load, errorElement: <Broken /> });

const pages: RouteObject[] = [
  ...adminPages.map(([path, load]) => page(path, load)),
  page('/', () => import('../pages/dashboard/DashboardPage')),
  page('/schedules', () => import('../pages/schedules/SchedulesPage')),
  page('/schedules/new', () => import('../pages/schedules/ScheduleEditPage')),
  page('/schedules/:id', () => import('../pages/schedules/SchedulePage')),
  page('/schedules/:id/edit', () => import('../pages/schedules/ScheduleEditPage')),
  page('/scripts', () => import('../pages/scripts/ScriptsPage')),
  page('/scripts/new', () => import('../pages/scripts/ScriptEditPage')),
  page('/scripts/:id', () => import('../pages/scripts/ScriptPage')),
  page('/scripts/:id/edit', () => import('../pages/scripts/ScriptEditPage')),
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
