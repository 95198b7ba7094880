//! Pools of leases in Redis.
//!
//! Redis only moves units that the database has debited. Whatever it loses is counted and not used; what it must never do is hand a unit
//! out twice. So nothing is sent again without an answer, and a pool belongs to the run of the server that it was filled in: one that came
//! back from a file, or from another server, is thrown away.

use std::fmt;
use std::time::Duration;

use creto_kernel::Clock;
use futures::future::BoxFuture;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use tokio::sync::Mutex;

use super::pools::{Pool, PoolError, Pools};

/// Longest time a connection or an answer takes.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one that failed is not asked again.
const PAUSE_MICROS: i64 = 250_000;
/// Most units of a pool, in millionths: Lua counts in doubles, which are exact up to 2⁵³.
const UNITS_MAX: i64 = 1 << 52;
/// How long a pool is kept after its span, in milliseconds: for servers with a slow clock.
const GRACE_MS: i64 = 60_000;

/// Takes up to `ARGV[1]` units. A pool of another run is none.
const TAKE: &str = "\
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') \
local pool = redis.call('HMGET', KEYS[1], 'run', 'units') \
if not pool[2] then return 0 end \
if pool[1] ~= run then redis.call('DEL', KEYS[1]) return 0 end \
local units = math.min(tonumber(pool[2]), tonumber(ARGV[1])) \
if units > 0 then redis.call('HINCRBY', KEYS[1], 'units', string.format('%.0f', -units)) end \
return units";
/// Adds `ARGV[1]` units, kept until `ARGV[2]`. What is there of another run is thrown away. Answers whether there was room.
const PUT: &str = "\
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') \
local pool = redis.call('HMGET', KEYS[1], 'run', 'units') \
if pool[1] ~= run then \
  redis.call('DEL', KEYS[1]) redis.call('HSET', KEYS[1], 'run', run, 'units', ARGV[1]) \
elseif tonumber(pool[2]) + tonumber(ARGV[1]) > tonumber(ARGV[3]) then return 0 \
else redis.call('HINCRBY', KEYS[1], 'units', ARGV[1]) end \
if ARGV[2] ~= '0' then redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end \
return 1";

/// Pools in one Redis server.
pub struct RedisPools {
    client: redis::Client,
    clock: Arc<dyn Clock>,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Until when it is taken to be gone.
    gone_until: i64,
}

impl fmt::Debug for RedisPools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its address may hold a password.
        f.write_str("RedisPools")
    }
}

impl RedisPools {
    /// Pools in the server at `url`, `redis://[:password@]host[:port][/database]`; it is connected to when it is first asked.
    ///
    /// # Errors
    /// Where the address is none.
    pub fn new(url: &str, clock: Arc<dyn Clock>) -> Result<Self, PoolError> {
        let client = redis::Client::open(url).map_err(|e| PoolError(e.to_string()))?;
        Ok(Self { client, clock, link: Mutex::default() })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, PoolError> {
        let mut link = self.link.lock().await;
        if let Some(connection) = &link.connection {
            return Ok(connection.clone());
        }
        let now = self.clock.now().as_micros();
        if now < link.gone_until {
            return Err(PoolError("it was gone a moment ago".to_owned()));
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                link.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                link.gone_until = now.saturating_add(PAUSE_MICROS);
                Err(PoolError(error.to_string()))
            }
        }
    }

    /// Runs a script once. Whether one without an answer ran, nobody knows.
    async fn run(&self, script: &str, pool: Pool<'_>, arguments: [i64; 3]) -> Result<i64, PoolError> {
        let mut connection = self.connection().await?;
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(1).arg(key(&pool));
        arguments.iter().for_each(|argument| {
            command.arg(*argument);
        });
        match command.query_async::<i64>(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let mut link = self.link.lock().await;
                link.connection = None;
                link.gone_until = self.clock.now().as_micros().saturating_add(PAUSE_MICROS);
                Err(PoolError(error.to_string()))
            }
        }
    }
}

fn key(pool: &Pool<'_>) -> String {
    format!("creto:quota:{}:{}:{}:{}:{}", pool.tenant, pool.quota, pool.revision, pool.subject, pool.start)
}

impl Pools for RedisPools {
    fn take<'a>(&'a self, pool: Pool<'a>, most: i64) -> BoxFuture<'a, Result<i64, PoolError>> {
        Box::pin(async move {
            let taken = self.run(TAKE, pool, [most.min(UNITS_MAX), 0, 0]).await?;
            // Nothing that Redis says is more than was asked for.
            Ok(taken.clamp(0, most))
        })
    }

    fn put<'a>(&'a self, pool: Pool<'a>, units: i64) -> BoxFuture<'a, Result<bool, PoolError>> {
        Box::pin(async move {
            if units > UNITS_MAX {
                return Ok(false);
            }
            let until = if pool.end == i64::MAX { 0 } else { (pool.end / 1_000).saturating_add(GRACE_MS) };
            Ok(self.run(PUT, pool, [units, until, UNITS_MAX]).await? == 1)
        })
    }
}
