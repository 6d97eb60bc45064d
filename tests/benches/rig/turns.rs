//! Servers that echo in turns: each run has a fresh process, and the order changes from round to round.

use super::procfs::cpu_time;
use super::{Load, Pace, Role, Server, asked_for, median, micros, size_name};
use std::time::Instant;

/// What is compared, and for how long.
pub struct Turns<'a> {
    /// With the names they have in the table; the ratios are to the first.
    roles: &'a [(&'a str, Role)],
    pace: Pace,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub size: usize,
    pub sockets: usize,
    pub depth: usize,
    pub text: bool,
}

/// What one run found, or the medians of many.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The server's processor time for each message, in microseconds.
    pub cpu_us: f64,
    /// Messages.
    pub per_second: f64,
}

impl<'a> Turns<'a> {
    /// Briefly if that is asked for.
    pub fn of(roles: &'a [(&'a str, Role)]) -> Turns<'a> {
        Turns::at(Pace::new(7, 150, 400).or_brief(asked_for("quick")), roles)
    }

    pub fn at(pace: Pace, roles: &'a [(&'a str, Role)]) -> Turns<'a> {
        Turns { roles, pace }
    }

    pub fn print_head(&self) {
        let of_each = |what: &str| -> String {
            let cells = self
                .roles
                .iter()
                .map(|(name, _)| format!(" {name}: {what} |"));
            cells.collect()
        };
        let ratios: String = match self.roles {
            [_, _] => " ratio |".to_owned(),
            [_, others @ ..] => others
                .iter()
                .map(|(name, _)| format!(" {name}: ratio |"))
                .collect(),
            [] => String::new(),
        };
        let (cpu, rate) = (of_each("CPU µs/message"), of_each("messages/s"));
        println!("| size | sockets | in flight |{cpu}{ratios}{rate}");
        println!("{}|", "|---".repeat(2 + 3 * self.roles.len()));
    }

    /// The medians of each, in the order of the roles.
    pub fn measure(&self, point: Point) -> Vec<Figures> {
        let mut runs: Vec<Vec<Figures>> = self.roles.iter().map(|_| Vec::new()).collect();
        for round in 0..self.pace.rounds {
            let mut order: Vec<usize> = (0..runs.len()).collect();
            order.rotate_left(round / 2 % runs.len());
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                runs[at].push(self.run(self.roles[at].1, point));
            }
        }
        let medians = runs.into_iter().map(|runs| {
            let middle = |of: fn(&Figures) -> f64| median(runs.iter().map(of).collect());
            Figures {
                cpu_us: middle(|run| run.cpu_us),
                per_second: middle(|run| run.per_second),
            }
        });
        medians.collect()
    }

    pub fn print(&self, point: Point) {
        let found = self.measure(point);
        let raw = found[0].cpu_us;
        let mut cells: Vec<String> = found.iter().map(|f| format!("{:.2}", f.cpu_us)).collect();
        cells.extend(found[1..].iter().map(|f| format!("{:.2}", f.cpu_us / raw)));
        cells.extend(found.iter().map(|f| format!("{:.0}", f.per_second)));
        let Point {
            size,
            sockets,
            depth,
            ..
        } = point;
        println!(
            "| {} | {sockets} | {depth} | {} |",
            size_name(size),
            cells.join(" | ")
        );
    }

    fn run(&self, role: Role, point: Point) -> Figures {
        let server = Server::start(role);
        let mut load = Load::open(&server, point.sockets, point.size, point.depth);
        if point.text {
            load.set_text(role, point.size);
        }
        load.run_for(self.pace.warm_up);
        let (started, cpu) = (Instant::now(), cpu_time(server.pid()));
        let messages = load.run_for(self.pace.time) as f64;
        let cpu = cpu_time(server.pid()).saturating_sub(cpu);
        Figures {
            cpu_us: micros(cpu) / messages,
            per_second: messages / started.elapsed().as_secs_f64(),
        }
    }
}
