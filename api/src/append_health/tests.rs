//! What appends and tries say of a store, told by stores that refuse, hang and come back.

use std::sync::atomic::AtomicU32;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::*;

fn of(test: Arc<dyn WriteTest>) -> AppendHealth {
    AppendHealth::new(test, Arc::default())
}

fn refused() -> Result<AppendOutcome, StoreError> {
    Err(StoreError::Unavailable {
        reason: "the disk is full".to_owned(),
    })
}

#[tokio::test]
async fn a_store_that_refuses_is_told_until_its_disk_can_be_written() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let health = AppendHealth {
        shared_for: Duration::ZERO,
        ..of(Arc::new(FolderTest::new(folder.clone())))
    };
    assert!(health.look().await.is_ok(), "nothing was refused yet");
    health.note(&refused());
    for _again in 0..2 {
        assert!(health.look().await.is_err());
    }
    // What is wrong with a request says nothing of the store.
    health.note(&Err(StoreError::NoSuchLedger));
    assert!(health.look().await.is_err());
    fs::create_dir(&folder).unwrap();
    assert!(health.look().await.is_ok());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir(&folder).unwrap();
    assert!(health.look().await.is_ok(), "it is not tried for nothing");
}

#[tokio::test]
async fn an_append_that_gets_through_is_proof_enough() {
    let health = of(Arc::new(FolderTest::new("/nowhere".into())));
    health.note(&Ok(AppendOutcome::Unknown));
    assert!(health.look().await.is_err());
    health.note(&Ok(AppendOutcome::Appended {
        receipts: Vec::new(),
        duplicate: false,
    }));
    assert!(health.look().await.is_ok());
}

#[tokio::test]
async fn a_store_whose_writer_is_given_up_is_not_well_whatever_its_disk_takes() {
    let folder = tempfile::tempdir().unwrap();
    let writers = Arc::new(WriterLife::default());
    let test = Arc::new(FolderTest::new(folder.path().to_owned()));
    let health = AppendHealth::new(test, writers.clone());
    writers.restarted();
    assert_eq!(health.look().await, Ok(()));
    writers.give_up();
    assert_eq!(health.look().await, Err(GIVEN_UP.to_owned()));
}

/// Says what it is told to say.
#[derive(Default)]
struct Told {
    begun: AtomicU32,
    no: AtomicBool,
}

#[async_trait]
impl WriteTest for Told {
    async fn try_to_write(&self) -> io::Result<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        match self.no.load(Ordering::SeqCst) {
            true => Err(io::Error::other("no room")),
            false => Ok(()),
        }
    }
}

fn of_no_room() -> AppendHealth {
    let test = Told::default();
    test.no.store(true, Ordering::SeqCst);
    of(Arc::new(test))
}

#[tokio::test(start_paused = true)]
async fn that_all_was_well_before_an_append_was_refused_says_nothing_of_it() {
    let test = Arc::new(Told::default());
    let health = of(test.clone());
    health.note(&refused());
    assert_eq!(health.look().await, Ok(()));
    health.note(&refused());
    assert_eq!(health.look().await, Ok(()), "it began no earlier than that");
    assert_eq!(test.begun.load(Ordering::SeqCst), 1);
    tokio::time::advance(READY_TRY_SHARED / 4).await;
    test.no.store(true, Ordering::SeqCst);
    health.note(&refused());
    for _again in 0..3 {
        assert_eq!(health.look().await, Err("no room".to_owned()));
    }
    assert_eq!(test.begun.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn appends_that_get_no_answer_are_a_reason_to_try_the_store() {
    let test = Arc::new(Told::default());
    test.no.store(true, Ordering::SeqCst);
    let health = of(test.clone());
    let (first, second) = (health.begin(), health.begin());
    tokio::time::advance(READY_SILENCE_MAX / 2).await;
    assert_eq!(health.look().await, Ok(()), "it is slow");
    health.note(&Err(StoreError::NoSuchLedger));
    drop(first);
    tokio::time::advance(READY_SILENCE_MAX / 2).await;
    assert_eq!(health.look().await, Ok(()), "another one was answered");
    assert_eq!(test.begun.load(Ordering::SeqCst), 0);
    tokio::time::advance(READY_SILENCE_MAX / 2).await;
    assert_eq!(health.look().await, Err("no room".to_owned()));
    drop(second);
    assert_eq!(
        health.look().await,
        Err("no room".to_owned()),
        "it hung up without an answer"
    );
    test.no.store(false, Ordering::SeqCst);
    tokio::time::advance(READY_TRY_SHARED).await;
    assert_eq!(health.look().await, Ok(()));
    let begun = test.begun.load(Ordering::SeqCst);
    tokio::time::advance(READY_SILENCE_MAX).await;
    assert_eq!(health.look().await, Ok(()));
    assert_eq!(test.begun.load(Ordering::SeqCst), begun, "nobody waits any more");
}

#[tokio::test(start_paused = true)]
async fn one_caller_after_the_other_that_hangs_up_does_not_hide_a_store_that_hangs() {
    let health = of_no_room();
    for _again in 0..2 {
        assert_eq!(health.look().await, Ok(()), "it is slow");
        let waits = health.begin();
        tokio::time::advance(READY_SILENCE_MAX / 2).await;
        drop(waits);
    }
    assert_eq!(health.look().await, Err("no room".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_a_full_queue_refuses_is_no_answer_of_the_store() {
    let health = of_no_room();
    let _waits = health.begin();
    for _second in 0..READY_SILENCE_MAX.as_secs() {
        assert_eq!(health.look().await, Ok(()), "it is slow");
        tokio::time::advance(Duration::from_secs(1)).await;
        let refused = health.begin();
        health.note(&Err(StoreError::Overloaded { retry_after_ms: 1 }));
        drop(refused);
    }
    assert_eq!(health.look().await, Err("no room".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hung_up_had_no_answer_of_the_store() {
    let health = of_no_room();
    let mut waits = health.begin();
    for _second in 0..READY_SILENCE_MAX.as_secs() {
        assert_eq!(health.look().await, Ok(()), "it is slow");
        tokio::time::advance(Duration::from_secs(1)).await;
        // The next one comes before this one goes.
        waits = health.begin();
    }
    assert_eq!(health.look().await, Err("no room".to_owned()));
    drop(waits);
}

#[tokio::test]
async fn two_tries_have_a_file_each_and_a_third_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let test = FolderTest::new(folder.path().to_owned());
    // The first one hangs with its file.
    test.taken[0].store(true, Ordering::SeqCst);
    let hanging = folder.path().join("ready-try-0.tmp");
    fs::write(&hanging, "written in part").unwrap();
    for _again in 0..2 {
        test.try_to_write().await.unwrap();
    }
    assert_eq!(fs::read(&hanging).unwrap(), b"written in part");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    test.taken[1].store(true, Ordering::SeqCst);
    assert!(test.try_to_write().await.is_err());
}

/// Says no, once it is let.
struct Counted {
    begun: AtomicU32,
    let_go: Semaphore,
}

#[async_trait]
impl WriteTest for Counted {
    async fn try_to_write(&self) -> io::Result<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.let_go.acquire().await.unwrap().forget();
        Err(io::Error::other("no room"))
    }
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_one_try_hangs_and_all_hear_what_it_says() {
    let test = Arc::new(Counted {
        begun: AtomicU32::new(0),
        let_go: Semaphore::new(0),
    });
    let health = of(test.clone());
    health.note(&refused());
    for _again in 0..3 {
        let began = Instant::now();
        for said in join_all((0..20).map(|_| health.look())).await {
            let said = said.unwrap_err();
            assert!(said.contains("no answer"), "{said}");
        }
        assert!(began.elapsed() <= READY_TRY_WAIT_MAX);
    }
    assert_eq!(test.begun.load(Ordering::SeqCst), 1);
    test.let_go.add_permits(1);
    // The try comes to its end when all others wait.
    tokio::task::yield_now().await;
    tokio::time::advance(READY_TRY_SHARED / 2).await;
    for _again in 0..20 {
        assert_eq!(health.look().await, Err("no room".to_owned()));
    }
    assert_eq!(test.begun.load(Ordering::SeqCst), 1);
    // What it said is old then.
    tokio::time::advance(READY_TRY_SHARED).await;
    test.let_go.add_permits(1);
    assert_eq!(health.look().await, Err("no room".to_owned()));
    assert_eq!(test.begun.load(Ordering::SeqCst), 2);
}

/// The first one hangs on a server that froze; another has taken its place.
#[tokio::test(start_paused = true)]
async fn a_try_that_hangs_for_long_gets_one_other_beside_it_and_no_more() {
    let test = Arc::new(Counted {
        begun: AtomicU32::new(0),
        let_go: Semaphore::new(0),
    });
    let health = of(test.clone());
    health.note(&refused());
    for begun in [1, 2, 2, 2] {
        for _again in 0..20 {
            assert!(health.look().await.is_err());
        }
        assert_eq!(test.begun.load(Ordering::SeqCst), begun);
        tokio::time::advance(READY_TRY_AGAIN).await;
    }
    // Once one of them has ended there is room for another.
    test.let_go.add_permits(1);
    tokio::task::yield_now().await;
    assert!(health.look().await.is_err());
    assert_eq!(test.begun.load(Ordering::SeqCst), 3);
}
