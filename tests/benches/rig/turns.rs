//! Servers that echo in turns: each run has a fresh process, and the order changes from round to round.

use super::procfs::cpu_time;
use super::{Load, Role, Server, asked_for, median, micros, size_name};
use std::time::{Duration, Instant};

/// What is compared, and for how long.
pub struct Turns<'a> {
    /// With the names they have in the table; the ratios are to the first.
    roles: &'a [(&'a str, Role)],
    rounds: usize,
    warm_up: Duration,
    time: Duration,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub size: usize,
    pub sockets: usize,
    pub depth: usize,
}

/// What one run found.
struct Run {
    cpu_us: f64,
    per_second: f64,
}

impl<'a> Turns<'a> {
    /// Briefly if that is asked for.
    pub fn of(roles: &'a [(&'a str, Role)]) -> Turns<'a> {
        let quick = asked_for("quick");
        let millis = |full, brief| Duration::from_millis(if quick { brief } else { full });
        Turns {
            roles,
            rounds: if quick { 1 } else { 7 },
            warm_up: millis(150, 20),
            time: millis(400, 50),
        }
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

    pub fn print(&self, point: Point) {
        let mut runs: Vec<Vec<Run>> = self.roles.iter().map(|_| Vec::new()).collect();
        for round in 0..self.rounds {
            let mut order: Vec<usize> = (0..runs.len()).collect();
            order.rotate_left(round / 2 % runs.len());
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                runs[at].push(self.run(self.roles[at].1, point));
            }
        }
        let medians = |of: fn(&Run) -> f64| -> Vec<f64> {
            let values = runs
                .iter()
                .map(|runs| median(runs.iter().map(of).collect()));
            values.collect()
        };
        let (cpu, rate) = (medians(|run| run.cpu_us), medians(|run| run.per_second));
        let mut cells: Vec<String> = cpu.iter().map(|us| format!("{us:.2}")).collect();
        cells.extend(cpu[1..].iter().map(|us| format!("{:.2}", us / cpu[0])));
        cells.extend(rate.iter().map(|rate| format!("{rate:.0}")));
        let Point {
            size,
            sockets,
            depth,
        } = point;
        println!(
            "| {} | {sockets} | {depth} | {} |",
            size_name(size),
            cells.join(" | ")
        );
    }

    fn run(&self, role: Role, point: Point) -> Run {
        let server = Server::start(role);
        let mut load = Load::open(&server, point.sockets, point.size, point.depth);
        load.run_for(self.warm_up);
        let (started, cpu) = (Instant::now(), cpu_time(server.pid()));
        let messages = load.run_for(self.time) as f64;
        let cpu = cpu_time(server.pid()).saturating_sub(cpu);
        Run {
            cpu_us: micros(cpu) / messages,
            per_second: messages / started.elapsed().as_secs_f64(),
        }
    }
}
